//! Which tests share a machine.

use crate::appliance::Firmware;
use crate::vm::TestSpec;

/// Tests that run on one machine, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Boot<'a> {
    pub(super) firmware: Firmware,
    pub(super) tests: Vec<&'a TestSpec>,
}

/// Spreads tests over as few machines as can be, with each firmware that they are for. A machine comes where its first test
/// stands in the list.
pub(super) fn boots<'a>(
    tests: &[&'a TestSpec],
    firmwares: impl Fn(&TestSpec) -> Vec<Firmware>,
) -> Vec<Boot<'a>> {
    let mut boots: Vec<Boot<'a>> = Vec::new();
    for &test in tests {
        for firmware in firmwares(test) {
            let of_firmware = |boot: &&mut Boot<'_>| boot.firmware == firmware;
            let joins =
                |boot: &&mut Boot<'_>| boot.tests.iter().all(|other| other.can_precede(test));
            let leads =
                |boot: &&mut Boot<'_>| boot.tests.iter().all(|other| test.can_precede(other));
            if let Some(boot) = boots.iter_mut().filter(of_firmware).find(joins) {
                boot.tests.push(test);
            } else if let Some(boot) = boots.iter_mut().filter(of_firmware).find(leads) {
                boot.tests.insert(0, test);
            } else {
                boots.push(Boot { firmware, tests: vec![test] });
            }
        }
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{Controller, load_test};

    const BOTH: [Firmware; 2] = [Firmware::Bios, Firmware::Uefi];

    fn test(name: &str, boot: &str) -> TestSpec {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join(format!("{name}.toml"));
        let text = format!("description = \"\"\nboot = \"{boot}\"\n[[step]]\nwait-ssh = true\n");
        std::fs::write(&path, text).expect("a test");
        load_test(&path).expect("right")
    }

    fn names(tests: &[TestSpec], firmware: &[Firmware]) -> Vec<String> {
        let tests: Vec<_> = tests.iter().collect();
        let boots = boots(&tests, |_| firmware.to_vec());
        let name = |boot: &Boot<'_>| {
            let names: Vec<_> = boot.tests.iter().map(|test| test.name.as_str()).collect();
            format!("{} {}", boot.firmware.name(), names.join(" "))
        };
        boots.iter().map(name).collect()
    }

    #[test]
    fn shared_tests_come_after_a_first_one() {
        let tests = ["acme shared", "flash own", "smoke first", "turn shared", "update own"];
        let tests = tests.map(|test| test.split_once(' ').expect("two words"));
        let tests = tests.map(|(name, boot)| test(name, boot));
        let wanted = ["bios smoke acme turn", "bios flash", "bios update"];
        assert_eq!(names(&tests, &BOTH[..1]), wanted);
        let wanted = [
            "bios smoke acme turn",
            "uefi smoke acme turn",
            "bios flash",
            "uefi flash",
            "bios update",
            "uefi update",
        ];
        assert_eq!(names(&tests, &BOTH), wanted);
    }

    #[test]
    fn each_first_one_has_a_machine_to_itself() {
        let tests = [test("a", "first"), test("b", "first"), test("c", "shared")];
        assert_eq!(names(&tests, &BOTH[..1]), ["bios a c", "bios b"]);
        let tests = [test("a", "shared"), test("b", "first"), test("c", "first")];
        assert_eq!(names(&tests, &BOTH[..1]), ["bios b a", "bios c"]);
    }

    #[test]
    fn other_disks_are_another_machine() {
        let mut tests = [test("a", "shared"), test("b", "shared"), test("c", "shared")];
        tests[1].disks = vec![40 << 30];
        tests[2].controller = Controller::Scsi;
        assert_eq!(names(&tests, &BOTH[..1]), ["bios a", "bios b", "bios c"]);
    }
}
