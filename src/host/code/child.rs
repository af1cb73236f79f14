//! The process that compiles. Both programs turn into it if their first argument says so. It puts itself under its
//! limits before it reads the component.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::compiler::CompileLimits;
use crate::engine;
use crate::error::cut;
use crate::limits;

/// The first argument of a compiling process.
pub(super) const COMMAND: &str = "compile-plugin";

/// Exit code: the component is not valid, and standard error says why.
pub(super) const INVALID: u8 = 10;

/// Exit code: compiling was not possible here, and standard error says why.
pub(super) const FAILED: u8 = 11;

/// Exit code: the code could not be written, and standard error says why.
pub(super) const UNWRITTEN: u8 = 12;

/// How many files this process may have open: its standard streams, and some for the language runtime.
const FILES: u64 = 32;

/// How many seconds of CPU time after the limit the process is killed, if the signal at the limit did not end it.
const GRACE: u64 = 2;

/// Turns this process into the compiler if the arguments of the program say so: it reads a component from standard
/// input, and writes compiled code to standard output. Every program that a host uses as
/// [`CompileApart`](super::CompileApart) must call this first in `main`.
///
/// Returns None if the arguments say something else.
pub fn compile_if_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    let (command, limits) = args.split_first()?;
    if command != OsStr::new(COMMAND) {
        return None;
    }
    let (code, message) = match read_limits(limits).ok_or((FAILED, "found no limits".to_owned())) {
        Ok(limits) => match compile(limits) {
            Ok(()) => return Some(ExitCode::SUCCESS),
            Err(failed) => failed,
        },
        Err(failed) => failed,
    };
    // If nobody listens, the exit code still tells the caller.
    let _ = std::io::stderr().write_all(cut(message, limits::MESSAGE_BYTES).as_bytes());
    Some(ExitCode::from(code))
}

/// The limits as arguments, for [`read_limits`].
pub(super) fn write_limits(limits: CompileLimits) -> [String; 3] {
    [limits.cpu.as_secs().max(1), limits.memory, limits.code].map(|limit| limit.to_string())
}

fn read_limits(args: &[OsString]) -> Option<CompileLimits> {
    let numbers: Option<Vec<u64>> =
        args.iter().map(|arg| arg.to_str().and_then(|text| text.parse().ok())).collect();
    match numbers?.as_slice() {
        [cpu, memory, code] => {
            Some(CompileLimits { cpu: Duration::from_secs(*cpu), memory: *memory, code: *code })
        }
        _ => None,
    }
}

fn compile(limits: CompileLimits) -> Result<(), (u8, String)> {
    let failed = |what: &str, error: &dyn std::fmt::Display| (FAILED, format!("{what}: {error}"));
    confine(limits).map_err(|error| failed("failed to set limits", &error))?;
    let mut bytes = Vec::new();
    // Nobody sends more than this, but this process must not rely on that.
    let mut input = std::io::stdin().lock().take(limits::COMPONENT_BYTES as u64);
    input.read_to_end(&mut bytes).map_err(|error| failed("failed to read", &error))?;
    let engine = engine::for_compiling().map_err(|error| failed("failed to start", &error))?;
    let code = engine
        .precompile_component(&bytes)
        .map_err(|error| (INVALID, format!("failed to compile the component: {error:#}")))?;
    // Not through the buffer of standard output, which searches for line ends.
    let output = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    output
        .and_then(|mut output| output.write_all(&code))
        .map_err(|error| (UNWRITTEN, format!("failed to write: {error}")))
}

/// Puts this process under its limits, which can't be lifted again.
fn confine(limits: CompileLimits) -> rustix::io::Result<()> {
    let set = |resource, soft, hard| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    // Write no core dump: it may be as large as the memory of the process.
    set(Resource::Core, 0, 0)?;
    set(Resource::Nofile, FILES, FILES)?;
    set(Resource::Fsize, limits.code, limits.code)?;
    set(Resource::As, limits.memory, limits.memory)?;
    set(Resource::Cpu, limits.cpu.as_secs(), limits.cpu.as_secs() + GRACE)?;
    // Give way to whoever uses the server.
    nice(limits::COMPILE_NICE)?;
    // If memory runs out, the system shall end this process and not the server. Where that can't be set, nothing
    // can be done.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let limits = CompileLimits { cpu: Duration::from_secs(7), memory: 1 << 33, code: 5 };
        let args = write_limits(limits).map(OsString::from);
        assert_eq!(read_limits(&args), Some(limits));
        assert_eq!(read_limits(&args[..2]), None);
        assert_eq!(read_limits(&["1", "x", "3"].map(OsString::from)), None);
    }

    #[test]
    fn other_arguments_are_for_others() {
        for args in [&["replibook"][..], &["replibook", "serve"], &[]] {
            assert!(compile_if_asked(args.iter().map(OsString::from)).is_none());
        }
    }
}
