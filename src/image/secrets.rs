//! Law 3 for what starts the image, and is in no tree that compose made: the initrd, the boot code, the EFI system partition.

use super::ImageError;
use crate::scan::{self, Canaries};

/// Refuses bytes that hold a secret.
pub(super) fn refuse(what: &str, bytes: &[u8]) -> Result<(), ImageError> {
    match scan::contents(bytes, &Canaries::default()).into_iter().next() {
        None => Ok(()),
        Some(found) => Err(ImageError::Secret { what: format!("{what}{found}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_what_starts_the_image_is_told_with_its_place() {
        let bytes = [&[0; 1 << 20][..], b"CHATIMG-CANARY-", b"1234abcd"].concat();
        let error = refuse("the initrd", &bytes).expect_err("refused").to_string();
        assert!(error.contains("the initrd, at byte 1048576: a canary"), "{error}");
        refuse("the initrd", &bytes[..1 << 20]).expect("nothing");
    }
}
