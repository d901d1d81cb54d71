//! What a program takes. The kernel tells a process the most memory that any one of its children, and theirs, had; so each
//! program has a parent of its own, this very one.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// By the clock.
    pub seconds: f64,
    /// Of processors, all processes together.
    pub processor: f64,
    /// The most that a single process had in memory.
    pub mebibytes: f64,
}

/// Runs a program to its end.
pub fn measured(command: &Command) -> Result<Taken, Box<dyn Error>> {
    let mut parent = Command::new(std::env::current_exe()?);
    parent.arg("measured").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => parent.env(name, value),
            None => parent.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        parent.current_dir(dir);
    }
    let output = parent.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [seconds, processor, mebibytes] = numbers[..] else {
        return Err(format!("measured: {text:?}").into());
    };
    // The table comes last, and something may go wrong before.
    eprintln!("  {seconds:.2} s, {processor:.1} s of processors, {mebibytes:.0} MiB");
    Ok(Taken { seconds, processor, mebibytes })
}

/// The same several times, and the one in the middle by the clock.
pub fn middle(
    times: usize,
    mut run: impl FnMut() -> Result<Taken, Box<dyn Error>>,
) -> Result<Taken, Box<dyn Error>> {
    let mut all = (0..times).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(all[times / 2])
}

/// The parent: runs the program and prints what it took.
pub fn child(program: &str, args: &[String]) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let status = Command::new(program).args(args).stdout(Stdio::null()).status()?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{program}: {status}").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 + f64::from(i32::try_from(time.tv_usec()).unwrap_or(0)) / 1e6
    };
    let processor = time(usage.user_time()) + time(usage.system_time());
    println!("{seconds} {processor} {}", usage.max_rss() as f64 / 1024.0);
    Ok(())
}
