//! Waiting for what takes its time, attentively: whoever waits is asked again and again whether to go on.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ssh::{Output, Running};

/// Does something that blocks in a thread of its own, and calls `check` every `tick`. When that fails, the thread goes on
/// until its own time is up. `None`: it died.
pub(super) fn aside<T: Send + 'static, E>(
    tick: Duration,
    mut check: impl FnMut() -> Result<(), E>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, E> {
    let (sender, receiver) = channel();
    // Nobody listens any more when the work was given up.
    thread::spawn(move || _ = sender.send(work()));
    loop {
        match receiver.recv_timeout(tick) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Timeout) => check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Waits for the end of a program, and calls `check` every `tick`. `None`: it did not end within `limit`.
pub(super) fn ended<E>(
    running: &mut Running,
    limit: Option<Duration>,
    tick: Duration,
    failed: impl Fn(io::Error) -> E,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Option<Output>, E> {
    let start = Instant::now();
    loop {
        if let Some(output) = running.poll().map_err(&failed)? {
            return Ok(Some(output));
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Ok(None);
        }
        check()?;
        thread::sleep(tick);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const TICK: Duration = Duration::from_millis(5);

    #[test]
    fn work_in_a_thread_of_its_own_gives_its_result_or_is_given_up() {
        let well = || Ok::<_, String>(());
        assert_eq!(aside(TICK, well, || 7), Ok(Some(7)));
        assert_eq!(aside(TICK, well, || -> u8 { panic!("the thread dies") }), Ok(None));
        let start = Instant::now();
        let stopped = aside(TICK, || Err("stop"), || thread::sleep(Duration::from_secs(20)));
        assert_eq!(stopped, Err("stop"));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_is_waited_for_until_its_end_its_limit_or_a_stop() {
        let run = |script: &str| {
            Running::new(Command::new("sh").args(["-c", script]), Stdio::null()).expect("runs")
        };
        let failed = |error: io::Error| error.to_string();
        let well = || Ok(());
        let output = ended(&mut run("echo a; exit 3"), None, TICK, failed, well);
        let output = output.expect("waits").expect("it ends");
        assert_eq!((output.exit, output.stdout.as_str()), (3, "a\n"));
        let (mut sleeps, limit) = (run("exec sleep 20"), Some(TICK * 4));
        assert_eq!(ended(&mut sleeps, limit, TICK, failed, well), Ok(None));
        let mut asked = 0;
        let stopped = ended(&mut sleeps, None, TICK, failed, || {
            asked += 1;
            if asked == 3 { Err("stop".to_owned()) } else { Ok(()) }
        });
        assert_eq!((stopped, asked), (Err("stop".to_owned()), 3));
    }
}
