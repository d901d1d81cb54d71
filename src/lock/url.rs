//! Files that an overlay names by their address.

use std::collections::BTreeMap;

use url::Url;

use super::online::Online;
use super::{UrlBlob, UrlRequest};
use crate::digest::Digest;
use crate::fetch::{Answer, FetchError};

/// Fetches every file and takes its digest, or holds it to the one that its overlay pins. `prefer`:
/// digests of the previous lock by name, which an unpinned input must still have; leave out those
/// to be updated.
///
/// # Errors
/// A file does not come, or is another one than is pinned or was locked.
pub fn resolve_urls(
    online: &Online<'_>,
    requests: &BTreeMap<String, UrlRequest>,
    prefer: &BTreeMap<String, Digest>,
) -> Result<Vec<UrlBlob>, FetchError> {
    let blob = |(name, request): (&String, &UrlRequest)| {
        let bad = |why: String| FetchError::BadAddress { address: request.url.clone(), why };
        let url = Url::parse(&request.url).map_err(|error| bad(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(bad("it must begin with https://, http:// or file://".to_owned()));
        }
        let expected = request.digest.or_else(|| prefer.get(name).copied());
        let taken = match (online.take(&url, expected, |_| Ok(())), expected) {
            (
                Err(FetchError::Get { answer: Answer::WrongBytes { actual }, .. }),
                Some(expected),
            ) => {
                let remedy = match request.digest {
                    Some(_) => "correct its sha256 in the overlay".to_owned(),
                    None => format!("run `chatimg lock --update {name}`"),
                };
                let (name, address) = (name.clone(), request.url.clone());
                let (expected, actual) =
                    (format!("SHA-256 {expected}"), format!("with SHA-256 {actual}"));
                return Err(FetchError::Replaced { name, address, expected, actual, remedy });
            }
            (taken, _) => taken?,
        };
        Ok(UrlBlob { name: name.clone(), size: taken.size, digest: taken.digest })
    };
    requests.iter().map(blob).collect()
}

#[cfg(test)]
mod tests {
    use super::super::online::tests::Net;
    use super::*;
    use crate::fetch::testserver::{Reply, TestServer};

    fn request(url: &str, digest: Option<Digest>) -> BTreeMap<String, UrlRequest> {
        [("web".to_owned(), UrlRequest { url: url.to_owned(), digest })].into()
    }

    #[test]
    fn the_first_lock_takes_the_digest_and_later_ones_hold_to_it() {
        let server = TestServer::start(|_| Reply::ok("file"));
        let net = Net::new(&[]);
        let online = net.online();
        let free = request(&server.base, None);
        let blobs = resolve_urls(&online, &free, &BTreeMap::new()).expect("fetches");
        assert_eq!((blobs[0].size, blobs[0].digest), (4, Digest::of(b"file")));
        assert!(net.store.has_blob(&blobs[0].digest));
        let other = Digest::of(b"other");
        let locked = [("web".to_owned(), other)].into();
        for (requests, prefer) in
            [(free, locked), (request(&server.base, Some(other)), BTreeMap::new())]
        {
            let error = resolve_urls(&online, &requests, &prefer).expect_err("differs").to_string();
            assert!(error.contains("wrong bytes"), "{error}");
            assert!(error.contains("input web") && error.contains(&other.to_string()), "{error}");
        }
        assert!(resolve_urls(&online, &request("x", None), &BTreeMap::new()).is_err());
    }
}
