//! Data sets, optimizers, schedules, the training loop, exact checkpoints and the s3 command.
