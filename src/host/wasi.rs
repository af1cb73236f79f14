//! What a guest gets of WASI: as much as language runtimes need to start, and nothing of the machine. There are no
//! files, arguments, environment variables or sockets. Time, timers and random bytes are those of the attempt, so
//! that a later activation sees the same. Standard output and error go to the log.

use std::collections::HashMap;

use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{WasiCli, WasiCliCtx, WasiCliCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::sync::io::poll;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random as randoms, sync};
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::bindings::wasi::io::error as io_error;

use super::error::Stop;
use super::guest::Guest;
use super::limits;
use super::log::Stream;
use super::wasi_http::Requests;
use replibook_core::run::{Call, Millis};

/// Nanoseconds in a millisecond: WASI clocks count nanoseconds, a journal counts milliseconds.
const NANOS: u64 = 1_000_000;

/// The interfaces that are linked for steps and for strategies, without their versions.
pub(super) const INTERFACES: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Links [`INTERFACES`].
pub(super) fn link(l: &mut Linker<Guest>) -> wasmtime::Result<()> {
    cli::environment::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Guest::cli)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, Guest::files)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, Guest::files)?;
    io_error::add_to_linker::<_, Table>(l, |guest| &mut guest.wasi.table)?;
    sync::io::streams::add_to_linker::<_, Table>(l, |guest| &mut guest.wasi.table)?;
    // For these there is our own code, in `Guest`.
    cli::stderr::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    cli::stdout::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    clocks::monotonic_clock::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    clocks::wall_clock::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    randoms::insecure::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    randoms::insecure_seed::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    randoms::random::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)?;
    poll::add_to_linker::<_, HasSelf<Guest>>(l, |guest| guest)
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// The state of WASI for one guest.
pub(super) struct Wasi {
    pub(super) table: ResourceTable,
    pub(super) http: Requests,
    cli: WasiCliCtx,
    files: WasiFilesystemCtx,
    /// What each pollable waits for. One that is not here is always ready.
    pub(super) awaited: HashMap<u32, Awaited>,
    /// The monotonic clock never shows less than this, whatever the clock of the host did.
    reached: u64,
}

/// What a pollable waits for.
#[derive(Clone, Copy)]
pub(super) enum Awaited {
    /// A moment, in nanoseconds since the Unix epoch.
    Moment(u64),
    /// The response of an HTTP request, by the handle of its future.
    Response(u32),
}

impl Default for Wasi {
    fn default() -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::WASI_HANDLES);
        let (cli, files) = (WasiCliCtx::default(), WasiFilesystemCtx::default());
        let (http, awaited) = (Requests::default(), HashMap::new());
        Self { table, http, cli, files, awaited, reached: 0 }
    }
}

impl Guest {
    fn cli(&mut self) -> WasiCliCtxView<'_> {
        WasiCliCtxView { ctx: &mut self.wasi.cli, table: &mut self.wasi.table }
    }

    fn files(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.wasi.files, table: &mut self.wasi.table }
    }

    /// Logical time, in nanoseconds since the Unix epoch.
    fn nanos(&self) -> u64 {
        u64::try_from(self.logical_now().as_millis()).unwrap_or(0).saturating_mul(NANOS)
    }

    fn monotonic(&mut self) -> u64 {
        self.wasi.reached = self.wasi.reached.max(self.nanos());
        self.wasi.reached
    }

    fn timer(&mut self, until: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.wasi.table.push(Timer)?;
        let pollable = subscribe(&mut self.wasi.table, timer)?;
        self.wasi.awaited.insert(pollable.rep(), Awaited::Moment(until));
        Ok(pollable)
    }

    /// What a pollable waits for, unless it is ready.
    fn awaits(&mut self, pollable: &Resource<DynPollable>) -> Option<Awaited> {
        let awaited = *self.wasi.awaited.get(&pollable.rep())?;
        let is_ready = match awaited {
            Awaited::Moment(until) => until <= self.monotonic(),
            Awaited::Response(future) => self.is_answered(future),
        };
        (!is_ready).then_some(awaited)
    }

    /// Waits until one of these is ready. A request is sent before a timer is waited for: its own timeout ends it.
    fn wait_for_one(&mut self, pollables: &[Resource<DynPollable>]) -> wasmtime::Result<()> {
        // A guest that always has something ready, such as timers of no length, would never have its requests sent.
        if pollables.iter().any(|it| matches!(self.awaits(it), Some(Awaited::Response(_)))) {
            self.send_next()?;
        }
        loop {
            let awaited: Option<Vec<_>> = pollables.iter().map(|it| self.awaits(it)).collect();
            let Some(awaited) = awaited else { return Ok(()) };
            if self.send_next()? {
                continue;
            }
            let moments = awaited.iter().filter_map(|awaited| match awaited {
                Awaited::Moment(until) => Some(*until),
                Awaited::Response(_) => None,
            });
            if let Some(first) = moments.min() {
                return self.wait_until(first);
            }
            // What is left are requests whose bodies would have to be finished by the guest, which waits.
            for awaited in awaited {
                if let Awaited::Response(future) = awaited {
                    self.give_up_unfinished(future)?;
                }
            }
        }
    }

    /// Waits until this moment, which is an effect like any other.
    fn wait_until(&mut self, until: u64) -> wasmtime::Result<()> {
        let length = Millis(until.saturating_sub(self.monotonic()).div_ceil(NANOS));
        self.effect(Call::Sleep { length })?;
        self.wasi.reached = self.monotonic().max(until);
        Ok(())
    }
}

/// What the pollable of a timer refers to. `poll` works out from logical time whether it is ready.
struct Timer;

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {}
}

impl poll::Host for Guest {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(wasmtime::Error::msg("the plugin polled an empty list"));
        }
        // A guest may name one handle many times, so the number of its handles does not limit the list.
        let (found, most) = (pollables.len(), limits::WASI_HANDLES);
        if found > most {
            let message = format!("the plugin polled {found} handles, expected at most {most}");
            return Err(Stop::Limit { code: "handle-limit", message }.into());
        }
        self.wait_for_one(&pollables)?;
        let numbered = (0u32..).zip(&pollables);
        Ok(numbered.filter(|(_, it)| self.awaits(it).is_none()).map(|(n, _)| n).collect())
    }
}

impl poll::HostPollable for Guest {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Ok(self.awaits(&pollable).is_none())
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.wait_for_one(std::slice::from_ref(&pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.wasi.awaited.remove(&pollable.rep());
        poll::HostPollable::drop(&mut self.wasi.table, pollable)
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.monotonic())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NANOS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.timer(when)
    }

    fn subscribe_duration(&mut self, length: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let until = self.monotonic().saturating_add(length);
        self.timer(until)
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(datetime(self.nanos()))
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(datetime(NANOS))
    }
}

fn datetime(nanos: u64) -> wall_clock::Datetime {
    let second = 1_000 * NANOS;
    let nanoseconds = u32::try_from(nanos % second).unwrap_or(0);
    wall_clock::Datetime { seconds: nanos / second, nanoseconds }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.random_bytes(length)?)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.random_bytes(length)?)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64())
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random_u64(), self.random_u64()))
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.wasi.table.push(self.log.stream(Stream::Stdout))?)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.wasi.table.push(self.log.stream(Stream::Stderr))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Unwound;
    use crate::guest::{Role, Seed};
    use replibook_core::run::Timestamp;

    fn guest() -> Guest {
        Guest::new(Role::Describe, Timestamp::from_millis(1_500), Seed::Of([0; 32]))
    }

    #[test]
    fn timers_that_are_due_are_ready_and_others_are_an_effect() {
        let mut guest = guest();
        let due = monotonic_clock::Host::subscribe_instant(&mut guest, 1_500 * NANOS).unwrap();
        let later = monotonic_clock::Host::subscribe_duration(&mut guest, NANOS).unwrap();
        let (first, second) = (due.rep(), later.rep());
        assert_eq!(poll::Host::poll(&mut guest, vec![later, due]).unwrap(), [1]);
        let later = Resource::new_borrow(second);
        let error = poll::HostPollable::block(&mut guest, later).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::Forbidden { call: "timer.sleep", .. })));
        for rep in [first, second] {
            poll::HostPollable::drop(&mut guest, Resource::new_own(rep)).unwrap();
        }
        assert!(guest.wasi.awaited.is_empty());
        assert!(poll::Host::poll(&mut guest, vec![]).is_err());
    }

    #[test]
    fn a_poll_has_no_more_handles_than_a_guest_may_hold() {
        let mut guest = guest();
        let due = monotonic_clock::Host::subscribe_instant(&mut guest, 0).unwrap();
        let list = |length: usize| (0..length).map(|_| Resource::new_borrow(due.rep())).collect();
        let ready = poll::Host::poll(&mut guest, list(limits::WASI_HANDLES)).unwrap();
        assert_eq!(ready.len(), limits::WASI_HANDLES);
        let error = poll::Host::poll(&mut guest, list(limits::WASI_HANDLES + 1)).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::Limit { code: "handle-limit", .. })));
    }

    #[test]
    fn the_handles_of_a_guest_have_a_number() {
        let mut guest = guest();
        let error = loop {
            if let Err(error) = monotonic_clock::Host::subscribe_duration(&mut guest, 1) {
                break error;
            }
            assert!(guest.wasi.awaited.len() <= limits::WASI_HANDLES);
        };
        let Unwound::Fault(fault) = Unwound::from(error) else { panic!("not a fault") };
        assert_eq!(fault.code, "handle-limit");
    }
}
