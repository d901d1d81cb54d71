use super::*;
use crate::debian::testing::signer::{Form, MADE, Part, clear, sign_text};
use crate::debian::testing::{NOW, Signer};

const TEXT: &str = "Codename: trixie\n- a dash\n-----BEGIN PGP SIGNATURE-----\n\n end\n";

fn refusals(keyring: &Keyring, message: &str) -> Vec<Refusal> {
    match keyring.verify(message.as_bytes(), NOW) {
        Err(KeyringError::NoGoodSignature { found, .. }) => {
            found.into_iter().map(|f| f.1).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signed_text_comes_back_without_its_escapes() {
    let signer = Signer::new(1);
    let verified = signer.keyring().verify(signer.sign(TEXT).as_bytes(), NOW).unwrap();
    assert_eq!(verified.text, TEXT);
    assert_eq!(verified.signer, signer.key_id());
}

#[test]
fn the_pinned_keyring_is_debians() {
    let pinned = signer::fingerprints(&Keyring::debian().unwrap().certificates);
    assert_eq!(
        pinned,
        [
            "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
            "B8E5F13176D2A7A75220028078DBA3BC47EF2265",
            "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
            "89C87ACEA5DD6B8E6A7068808E9F831205B4BA95",
            "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
        ]
    );
}

#[test]
fn a_changed_text_is_refused() {
    let signer = Signer::new(1);
    let message = signer.sign(TEXT).replace("trixie", "trixix");
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::BadSignature]);
}

#[test]
fn a_foreign_signature_is_refused_by_key_id() {
    let (signer, foreign) = (Signer::new(1), Signer::new(2));
    let error =
        signer.keyring().verify(foreign.sign(TEXT).as_bytes(), NOW).unwrap_err().to_string();
    assert!(error.contains(&format!("{} (not a pinned key)", foreign.key_id())), "{error}");
    assert!(error.contains(&signer.key_id()), "{error}");
}

#[test]
fn one_good_signature_among_foreign_ones_is_enough() {
    let (signer, foreign) = (Signer::new(1), Signer::new(2));
    let [first, second] =
        [&signer, &foreign].map(|signer| sign_text(&signer.subkey, TEXT, Form::new(1, NOW, [])));
    let message = clear(TEXT, &[second, first]);
    assert_eq!(signer.keyring().verify(message.as_bytes(), NOW).unwrap().signer, signer.key_id());
    assert_eq!(refusals(&Signer::new(3).keyring(), &message), [Refusal::UnknownKey; 2]);
}

#[test]
fn only_one_whole_message_and_nothing_else_is_taken() {
    let signer = Signer::new(1);
    let good = signer.sign(TEXT);
    let (head, signature) = good.split_at(good.rfind(BEGIN_SIGNATURE).unwrap());
    for (case, message) in [
        ("unsigned", TEXT.replace("-----BEGIN", "BEGIN")),
        ("empty", String::new()),
        ("text before", format!("Codename: evil\n{good}")),
        ("empty line before", format!("\n{good}")),
        ("text after", format!("{good}Codename: evil\n")),
        ("a second message", format!("{good}{good}")),
        ("a second signature block", format!("{good}{signature}")),
        ("no signature block", head.to_owned()),
        ("a cut signature", good[..good.len() - 40].to_owned()),
        ("an unescaped dash", good.replace("- - a dash", "-a dash")),
        ("a foreign header", good.replacen("Hash: SHA256", "Codename: evil", 1)),
        ("carriage returns", good.replace('\n', "\r\n")),
        ("a NUL byte", good.replace("trixie", "trix\0ie")),
        ("armour with a blank", good.replacen("MESSAGE-----", "MESSAGE----- ", 1)),
        ("no packets", format!("{head}{BEGIN_SIGNATURE}\n\n{END_SIGNATURE}\n")),
    ] {
        let verdict = signer.keyring().verify(message.as_bytes(), NOW);
        assert!(matches!(verdict, Err(KeyringError::NotClearSigned(_))), "{case}: {verdict:?}");
    }
    assert!(signer.keyring().verify(b"\xff\xfe", NOW).is_err());
}

#[test]
fn text_between_the_parts_is_never_handed_out() {
    let signer = Signer::new(1);
    let message = signer.sign(TEXT).replacen("\n\nCodename", "\nCodename: evil\n\nCodename", 1);
    assert!(signer.keyring().verify(message.as_bytes(), NOW).is_err());
}

#[test]
fn a_key_out_of_its_time_or_purpose_is_refused() {
    let cases = [
        (Signer::new(1).rebound(true, true, Some(86_400)), Refusal::KeyExpired),
        (Signer::new(1).revoked(), Refusal::KeyRevoked),
        (Signer::new(1).rebound(false, true, None), Refusal::NotASigningKey),
        (Signer::new(1).rebound(true, false, None), Refusal::NotASigningKey),
        (Signer::new(1).adopting(&Signer::new(2)), Refusal::NotASigningKey),
    ];
    for (signer, refusal) in cases {
        assert_eq!(refusals(&signer.keyring(), &signer.sign(TEXT)), [refusal]);
    }
    let signer = Signer::new(1).rebound(true, true, Some(u32::MAX));
    assert!(signer.keyring().verify(signer.sign(TEXT).as_bytes(), NOW).is_ok());
    let message = signer.sign_by_primary(TEXT);
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::NotASigningKey]);
}

#[test]
fn a_signature_from_the_future_or_with_a_weak_hash_is_refused() {
    let signer = Signer::new(1);
    let message = signer.sign_at(TEXT, NOW + 2 * 86_400);
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::OutOfTime]);
    assert!(signer.keyring().verify(signer.sign_at(TEXT, NOW - 9).as_bytes(), NOW).is_ok());
}

/// The message, with a signature that is a bit different from what it should be.
fn odd(signer: &Signer, change: impl FnOnce(&mut Form)) -> String {
    let mut form = Form::new(1, NOW, []);
    change(&mut form);
    clear(TEXT, &[sign_text(&signer.subkey, TEXT, form)])
}

fn is_malformed(signer: &Signer, message: &str) -> bool {
    let verdict = signer.keyring().verify(message.as_bytes(), NOW);
    matches!(verdict, Err(KeyringError::NotClearSigned(_)))
}

#[test]
fn a_signature_of_another_kind_is_refused() {
    let signer = Signer::new(1);
    let add = |part: Part| move |form: &mut Form| form.hashed.push(part);
    // MD5, SHA-1, RIPEMD-160, SHA-224, SHA3-256.
    for weak in [1, 2, 3, 11, 12] {
        let message = odd(&signer, |form| form.hash = weak);
        assert_eq!(refusals(&signer.keyring(), &message), [Refusal::WeakHash], "{weak}");
    }
    // Says another strong hash than was used.
    let message = odd(&signer, |form| form.hash = 10);
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::BadSignature]);
    for typ in [0x00, 0x02, 0x10, 0x18, 0x40, 0x50] {
        let message = odd(&signer, |form| form.typ = typ);
        assert_eq!(refusals(&signer.keyring(), &message), [Refusal::NotOfText], "{typ}");
    }
    let message = odd(&signer, add((0x80 | 20, vec![0; 9])));
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::UnknownCritical]);
    let message = odd(&signer, add((20, vec![0; 9])));
    assert!(signer.keyring().verify(message.as_bytes(), NOW).is_ok());
    let message = odd(&signer, add((3, vec![0, 0, 0, 1])));
    assert!(signer.keyring().verify(message.as_bytes(), NOW).is_ok());
    assert!(signer.keyring().verify(message.as_bytes(), NOW + 1).is_err());
    // The time twice; of a wrong length; not hashed; before the key was made.
    for change in [add((2, vec![0; 4])), add((3, vec![0; 3]))] {
        assert!(is_malformed(&signer, &odd(&signer, change)));
    }
    let message = odd(&signer, |form| form.loose.push(form.hashed.remove(0)));
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::OutOfTime]);
    let message = signer.sign_at(TEXT, i64::from(MADE) - 1);
    assert_eq!(refusals(&signer.keyring(), &message), [Refusal::BadSignature]);
}

#[test]
fn a_signature_with_other_numbers_is_refused() {
    let signer = Signer::new(1);
    let good = sign_text(&signer.subkey, TEXT, Form::new(1, NOW, []));
    let changed = |at: usize, by: u8| {
        let mut body = good.clone();
        body[at] ^= by;
        clear(TEXT, &[body])
    };
    // The digest's first bytes; the numbers; the version; the algorithm; then cut, and longer.
    let end = good.len() - 1;
    assert_eq!(refusals(&signer.keyring(), &changed(end, 1)), [Refusal::BadSignature]);
    assert_eq!(refusals(&signer.keyring(), &changed(0, 2)), [Refusal::NotOfText]);
    assert_eq!(refusals(&signer.keyring(), &changed(0, 7)), [Refusal::NotOfText]);
    assert_eq!(refusals(&signer.keyring(), &changed(2, 22 ^ 17)), [Refusal::UnknownAlgorithm]);
    for body in [good[..end].to_vec(), [&good[..], &[0]].concat()] {
        // Even beside a good one.
        assert!(is_malformed(&signer, &clear(TEXT, &[good.clone(), body])));
    }
    let many = vec![good.clone(); MAX_SIGNATURES + 1];
    let error = signer.keyring().verify(clear(TEXT, &many).as_bytes(), NOW).unwrap_err();
    assert!(error.to_string().contains("17 signatures, expected 1 to 16"), "{error}");
}

#[test]
fn what_the_primary_key_says_of_itself_counts() {
    let lifetime = |seconds: u32| (9, seconds.to_be_bytes().to_vec());
    let made = i64::from(MADE);
    let word = |at: i64, part| Form::new(0x1f, made + at, [part]);
    for (case, signer, refusal) in [
        ("its name's", Signer::new(1).certified([lifetime(1)]), Refusal::KeyExpired),
        ("its own", Signer::new(1).saying(&word(0, lifetime(1))), Refusal::KeyExpired),
        (
            "a newer word without one",
            Signer::new(1).certified([lifetime(1)]).saying(&word(9, (27, vec![1]))),
            Refusal::KeyExpired,
        ),
        (
            "not understood",
            Signer::new(1).saying(&word(9, (0x80 | 99, vec![1]))),
            Refusal::UnknownCritical,
        ),
        ("withdrawn", Signer::new(1).saying(&Form::new(0x20, made, [])), Refusal::KeyRevoked),
        (
            "withdrawn in a way we cannot check",
            Signer::new(1).saying(&Form { hash: 2, ..Form::new(0x20, made, []) }),
            Refusal::KeyRevoked,
        ),
    ] {
        assert_eq!(refusals(&signer.keyring(), &signer.sign(TEXT)), [refusal], "{case}");
    }
    let future = Signer::new(1).saying(&word(NOW, lifetime(1)));
    assert!(future.keyring().verify(future.sign(TEXT).as_bytes(), NOW).is_ok());
    let signing = Signer::new(1).certified([(27, vec![3])]);
    let verified = signing.keyring().verify(signing.sign_by_primary(TEXT).as_bytes(), NOW).unwrap();
    assert_eq!(verified.text, TEXT);
    // What somebody else says about it does not.
    let (mut signer, other) = (Signer::new(1), Signer::new(2));
    signer.direct = Signer::new(2).saying(&Form::new(0x20, made, [])).direct;
    signer.certifications.extend(other.certifications);
    assert!(signer.keyring().verify(signer.sign(TEXT).as_bytes(), NOW).is_ok());
    signer.certifications.remove(0);
    assert_eq!(refusals(&signer.keyring(), &signer.sign(TEXT)), [Refusal::NotASigningKey]);
}

#[test]
fn blanks_at_the_ends_of_lines_say_nothing() {
    let signer = Signer::new(1);
    let message = signer.sign(TEXT).replace("trixie\n", "trixie \t\n");
    assert_eq!(signer.keyring().verify(message.as_bytes(), NOW).unwrap().text, TEXT);
}

/// The real one of trixie-security, signed by two RSA subkeys, of which only the second is pinned.
const REAL: &str = include_str!("fixture/InRelease");

#[test]
fn debians_own_index_is_taken_while_its_keys_last() {
    let keyring = Keyring::debian().unwrap();
    let (then, expiry) = (1_795_040_263, 2_059_000_000);
    let verified = keyring.verify(REAL.as_bytes(), then).unwrap();
    assert_eq!(verified.signer, "89C87ACEA5DD6B8E6A7068808E9F831205B4BA95");
    assert!(verified.text.starts_with("Origin: Debian\nLabel: Debian-Security\n"));
    assert!(!verified.text.contains("PGP"));
    for (now, reason) in
        [(expiry, "the key has expired"), (then - 200_000, "not valid at this time")]
    {
        let error = keyring.verify(REAL.as_bytes(), now).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let changed = REAL.replace("trixie-security", "trixie-securitx");
    let error = keyring.verify(changed.as_bytes(), then).unwrap_err().to_string();
    assert!(
        error.contains("B0CAB9266E8C3929798B3EEEBDE6D2B9216EC7A8 (not a pinned key)"),
        "{error}"
    );
    assert!(error.contains("the text is not what this key signed"), "{error}");
}

#[test]
fn each_of_debians_keys_signs_its_own_archive_only() {
    let keyring = Keyring::debian().unwrap();
    assert_eq!(keyring.certificates.len(), 3);
    let then = 1_795_040_263;
    assert!(keyring.of(DebArchive::DebianSecurity).verify(REAL.as_bytes(), then).is_ok());
    let main = keyring.of(DebArchive::Debian);
    assert_eq!(main.certificates.len(), 2);
    let error = main.verify(REAL.as_bytes(), then).unwrap_err().to_string();
    assert!(error.contains("not a pinned key"), "{error}");
}

proptest::proptest! {
    #[test]
    fn whatever_is_changed_only_the_signed_text_comes_out(
        changes in proptest::collection::vec((0..2000_usize, proptest::num::u8::ANY, 0..3_u8), 1..4)
    ) {
        let signer = Signer::new(1);
        let mut message = signer.sign(TEXT).into_bytes();
        for (at, byte, kind) in changes {
            let at = at % message.len();
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => drop(message.remove(at)),
            }
        }
        if let Ok(verified) = signer.keyring().verify(&message, NOW) {
            proptest::prop_assert_eq!(verified.text, TEXT);
        }
    }
}
