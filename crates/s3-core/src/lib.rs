//! The S3 reparametrization: straight-through estimators, the fused weight op, the dense-weight penalty, and the traits every method implements.
