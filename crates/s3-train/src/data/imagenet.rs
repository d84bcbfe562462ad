//! ImageNet (ILSVRC2012): a name that configs may hold, and no loader behind it yet.
//!
//! Its images do not fit into memory, so it will not be a [`Dataset`](super::Dataset): it needs
//! a reader that decodes JPEG files while the network trains.

use super::error::DataError;
use super::{DataName, Splits};

/// Answers that this version cannot read ImageNet.
///
/// # Errors
///
/// Always [`DataError::Unsupported`].
pub fn load() -> Result<Splits, DataError> {
    Err(DataError::Unsupported {
        dataset: DataName::Imagenet.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_data_set_and_says_that_there_is_no_loader() {
        let message = load().unwrap_err().to_string();
        assert!(
            message.contains("`imagenet`") && message.contains("no loader"),
            "{message}"
        );
    }
}
