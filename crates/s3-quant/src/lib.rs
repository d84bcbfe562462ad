//! Every baseline of the paper as a peer of S3, and the one registration list.
