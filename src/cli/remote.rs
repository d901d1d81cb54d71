//! Options of every command that talks to a box, and those that only pass on what it says.

use std::process::ExitStatus;

use super::context::Context;
use super::{CommandError, Exit};
use crate::appliance::Plan;
use crate::deliver::update::Remote;

/// How a box is reached.
#[derive(Debug, clap::Args)]
pub struct Way {
    /// The box's ssh port [default: that of the appliance]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// An option for ssh, as -o has it: IdentityFile=..., ProxyJump=...
    #[arg(long, value_name = "OPTION")]
    ssh_option: Vec<String>,
    /// Reach the box by this command instead of ssh: it gets the host and a shell command as arguments
    #[arg(long, value_name = "COMMAND", hide = true)]
    rsh: Option<String>,
}

/// A box and how it is reached.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The box: its name or address, with the administrator's name before an @ if it is not the appliance's
    #[arg(value_name = "[USER@]HOST")]
    host: String,
    #[command(flatten)]
    way: Way,
}

impl Target {
    /// The box, with what the appliance says of it.
    pub fn remote(&self, context: &Context<'_>) -> Result<Remote, CommandError> {
        self.way.to(&self.host, context)
    }
}

impl Way {
    /// The same for a box that may not be named.
    pub fn to(&self, host: &str, context: &Context<'_>) -> Result<Remote, CommandError> {
        if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
            return Err(
                format!("\"{host}\" cannot be a box's name; write HOST or USER@HOST").into()
            );
        }
        // Without an appliance, ssh's own configuration decides.
        let plan = context.appliance.exists().then(|| context.plan()).transpose()?;
        let port = plan.as_ref().and_then(Plan::ssh_port);
        Ok(Remote {
            host: host.to_owned(),
            user: plan.map(|plan| plan.admin.name),
            port: self.port.or(port),
            options: self.ssh_option.clone(),
            rsh: self.rsh.clone(),
        })
    }
}

/// What the box exited with becomes what this program exits with.
pub fn passed(status: ExitStatus) -> Result<(), CommandError> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Exit(u8::try_from(code).unwrap_or(1)).into()),
        None => Err(Exit(1).into()),
    }
}
