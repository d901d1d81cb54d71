use super::*;
use crate::debian::testing::signer::packet;

#[test]
fn packets_of_both_forms_are_read() {
    let long = [7; 300];
    let mut bytes = vec![0b1000_1000, 2, 1, 2, 0b1000_1001, 0, 1, 3];
    bytes.extend([0b1000_1010, 0, 0, 0, 0, 0xc2, 1, 4, 0xc2, 192, 108]);
    bytes.extend(long);
    bytes.extend(packet(13, b"me"));
    let wanted: [(u8, &[u8]); 6] =
        [(2, &[1, 2]), (2, &[3]), (2, &[]), (2, &[4]), (2, &long), (13, b"me")];
    assert_eq!(packets(&bytes).unwrap(), wanted);
}

#[test]
fn what_is_no_packet_is_refused() {
    for (case, bytes) in [
        ("plain text", &b"Hello"[..]),
        ("the old form without a length", &[0b1000_1011, 1, 2]),
        ("in parts", &[0xc2, 224, 1]),
        ("cut", &[0xc2, 5, 1]),
        ("of four GiB", &[0xc2, 255, 255, 255, 255, 255, 1]),
        ("a lone tag", &[0xc2]),
    ] {
        assert!(packets(bytes).is_err(), "{case}");
    }
}

#[test]
fn numbers_are_as_long_as_they_say() {
    let read = |bytes: &'static [u8]| Reader::new(bytes).integer();
    assert_eq!(read(&[0, 9, 1, 0xff]).unwrap(), [1, 0xff]);
    assert!(read(&[0, 0]).unwrap().is_empty());
    for bad in [&[0, 9, 0, 0xff][..], &[0, 9, 3, 0xff], &[0, 8, 0x7f], &[0, 16, 1], &[0]] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn only_whole_blocks_of_base64_are_read() {
    let read = |text: &str| dearmor(text, "-----BEGIN X-----", "-----END X-----");
    let good = "-----BEGIN X-----\nComment: a\n\nAQID\nBAUG\n=abcd\n-----END X-----\n";
    assert_eq!(read(good).unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(&good.replace("=abcd\n", "")).unwrap(), [1, 2, 3, 4, 5, 6]);
    for (from, to) in [
        ("BEGIN", "BEGINN"),
        ("END", "ENDE"),
        ("Comment: a\n\n", ""),
        ("Comment: a", "Codename: a"),
        ("AQID", "AQI="),
        ("AQID", "AQ!D"),
        ("BAUG", "BAV="),
        ("=abcd", "=abcd\nAQID"),
        ("-----END X-----", "-----END X-----\nx"),
    ] {
        assert!(read(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
}

/// The pinned ones.
#[test]
fn certificates_of_debian_are_read_to_their_last_byte() {
    for name in ["automatic", "security-automatic", "stable"] {
        let path = format!("keys/debian-archive-trixie-{name}.asc");
        let text = std::fs::read_to_string(path).unwrap();
        let (begin, end) =
            ("-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----");
        let bytes = dearmor(&text, begin, end).unwrap();
        let certificate = &Certificate::parse(&bytes).unwrap()[0];
        assert!(certificate.said(typ::DIRECT).count() > 0 || certificate.direct.is_empty());
        let own = certificate.certifications();
        let own = own.filter(|(user, it)| it.is_of_user(&certificate.primary, user));
        assert_eq!(own.count(), 1, "{name}");
        for direct in certificate.said(typ::DIRECT) {
            assert!(direct.is_of_key(&certificate.primary), "{name}");
        }
        // A packet less, or a byte: refused, or without that.
        assert!(Certificate::parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(Certificate::parse(&bytes[1..]).is_err());
    }
    assert!(Certificate::parse(&packet(13, b"me")).is_err());
    assert!(Certificate::parse(&packet(60, b"")).is_err());
}
