//! Programs that the lab starts: bounded in time, logged to a file, and never outliving this process.

use std::{
    fs::File,
    io::{Read, Seek},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::interrupt;

/// Runs a command to its end, at most `patience`, and returns its standard output. A failure tells what it printed.
pub fn output(command: &mut Command, patience: Duration) -> Result<String> {
    let finished = finish(command, patience)?;
    if !finished.status.success() {
        bail!("`{}` failed ({}): {}", finished.line, finished.status, join(&finished.stderr, &finished.stdout));
    }
    Ok(finished.stdout)
}

/// What a command left when it ended.
#[derive(Debug)]
pub struct Finished {
    pub line: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, whatever its exit code; kills it after `patience`.
pub fn finish(command: &mut Command, patience: Duration) -> Result<Finished> {
    let line = line(command);
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    die_with_parent(command);
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let Some(status) = wait(&mut child, patience)? else {
        child.kill()?;
        child.wait()?;
        bail!("`{line}` did not end within {} s", patience.as_secs_f32());
    };
    Ok(Finished { line, status, stdout: read_all(&mut stdout)?, stderr: read_all(&mut stderr)? })
}

/// A program that runs until it is stopped; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts the command with its output appended to `log`. It does not get the terminal's Ctrl-C.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Daemon> {
        let line = line(&command);
        let file = File::options().create(true).append(true).open(log).with_context(|| format!("{}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        die_with_parent(&mut command);
        let child = spawn_on_lasting_thread(command).with_context(|| format!("cannot start `{line}`"))?;
        Ok(Daemon { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("process ids fit an i32")?;
        // SAFETY: one system call; the child was not waited for, so the id is still its own.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot signal {}", self.name));
        }
        Ok(())
    }

    /// Waits for the end, at most `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        wait(&mut self.child, patience)?
            .ok_or_else(|| anyhow!("{} did not end within {} s", self.name, patience.as_secs_f32()))
    }

    /// SIGTERM, and an error with the end of the log if it has not ended after five seconds.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.wait(Duration::from_secs(5)).with_context(|| self.tail(30))
    }

    /// SIGKILL: no last words.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it takes connections on a Unix socket. A failure tells what it printed.
    ///
    /// Not to be done with wg(8): that removes a socket nobody listens on, and so takes one away from a program that is
    /// between bind(2) and listen(2), or that has just replaced the socket an earlier one has left.
    pub fn wait_for_socket(&mut self, socket: &Path, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while let Err(error) = UnixStream::connect(socket) {
            if let Some(status) = self.ended()? {
                bail!("{} has ended ({status})\n{}", self.name, self.tail(30));
            }
            if Instant::now() >= deadline {
                bail!("{} is not to be reached at {}: {error}\n{}", self.name, socket.display(), self.tail(30));
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last lines of the log, under a header with the name.
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        let last = &all[all.len().saturating_sub(lines)..];
        format!("--- {} ({}), last {} lines ---\n{}", self.name, self.log.display(), last.len(), last.join("\n"))
    }

    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The child is killed when the thread that started it ends, so that a killed lab leaves no process.
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is one system call and nothing allocates between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

/// "Parent" is a thread for the kernel: what must outlive the calling thread is started by one that never ends.
fn spawn_on_lasting_thread(mut command: Command) -> Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        jobs
    });
    let (answer, result) = mpsc::channel();
    spawner
        .send(Box::new(move || {
            // The receiver waits below.
            let _ = answer.send(command.spawn());
        }))
        .map_err(|_| anyhow!("the thread that starts programs has ended"))?;
    Ok(result.recv().context("the thread that starts programs gave no answer")??)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn read_all(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn join(first: &str, second: &str) -> String {
    [first.trim(), second.trim()].join("\n").trim().to_owned()
}
