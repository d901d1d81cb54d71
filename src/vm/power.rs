//! Steps that switch the machine off and on.

use std::time::Duration;

use super::failure::TestFailure;
use super::judge::Mismatch;
use super::run::{Look, Run, Stop};

const INTERVAL: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Restarts the system in order; done when a new boot lets the administrator in.
    pub(super) fn reboot(&mut self) -> Result<(), Stop> {
        let before = self.wait_ssh()?;
        self.look_at_journal()?;
        self.new_boot();
        // The connection may end before the command does.
        self.command("sudo systemctl reboot", Some(Duration::from_secs(60)))?;
        self.until("a new boot", INTERVAL, |run| {
            let boot = run.wait_ssh()?;
            Ok(if boot == before {
                Look::NotYet(format!("still boot {boot}"))
            } else {
                Look::Here(())
            })
        })
    }

    /// Stops the machine dead, starts it again.
    pub(super) fn power_cut(&mut self) -> Result<(), Stop> {
        self.ports()?;
        self.machine = None;
        self.look_at_console()?;
        Ok(self.power_on()?)
    }

    /// Presses the power button, waits until QEMU has ended.
    pub(super) fn power_off(&mut self) -> Result<(), Stop> {
        self.look_at_journal()?;
        self.press("power", |machine| machine.press_power())?;
        let mut machine = self.machine.take();
        let waited = self.until("a machine that is off", INTERVAL / 10, |_| {
            let ended = machine.as_mut().and_then(|machine| machine.ended());
            Ok(match ended {
                Some(status) => Look::Here(status),
                None => Look::NotYet("it is still on".to_owned()),
            })
        })?;
        self.look_at_console()?;
        if waited.success() {
            return Ok(());
        }
        Err(Mismatch::new("QEMU's orderly end", waited.to_string()).into())
    }

    /// Starts a machine that is off.
    pub(super) fn switch_on(&mut self) -> Result<(), Stop> {
        if self.machine.is_some() {
            return Err(Mismatch::new("a machine that is off", "it runs").into());
        }
        Ok(self.power_on()?)
    }

    /// Presses the reset button.
    pub(super) fn reset(&mut self) -> Result<(), Stop> {
        self.new_boot();
        self.press("reset", |machine| machine.press_reset())
    }

    fn press(
        &mut self,
        button: &str,
        press: impl Fn(&super::qemu::Machine) -> std::io::Result<()>,
    ) -> Result<(), Stop> {
        self.ports()?;
        let doing = format!("pressing the {button} button");
        let pressed = self.machine.as_ref().map_or(Ok(()), press);
        Ok(pressed.map_err(|source| TestFailure::Io { doing, source })?)
    }
}
