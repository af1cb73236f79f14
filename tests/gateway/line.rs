//! Lines to a server of SSH that are cut at any byte, at moments of a seed.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Numbers of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    /// Another row of numbers.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.0 ^ (self.below(u64::from(u32::MAX)) << 17))
    }
}

/// How often lines were cut, all together.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    most: usize,
    done: watch::Sender<usize>,
}

impl Cuts {
    /// Lines are cut until `most` cuts have been.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, done: watch::Sender::new(0) }
    }

    pub(crate) fn done(&self) -> usize {
        *self.done.borrow()
    }

    pub(crate) fn are_over(&self) -> bool {
        self.done() == self.most
    }

    /// Waits until there have been so many.
    pub(crate) async fn wait_for(&self, count: usize) {
        let mut seen = self.done.subscribe();
        seen.wait_for(|done| *done >= count).await.unwrap();
    }

    fn take(&self) -> bool {
        let most = self.most;
        self.done.send_if_modified(|done| {
            let more = *done < most;
            *done += usize::from(more);
            more
        })
    }
}

/// A line to a server on loopback. Each connection is cut after another number of bytes in both directions together.
pub(crate) struct Line {
    pub(crate) at: SocketAddr,
    _carrying: AbortOnDropHandle<()>,
}

impl Line {
    pub(crate) async fn start(
        on: IpAddr,
        to: u16,
        mut noise: Noise,
        bytes: Range<u64>,
        cuts: Cuts,
    ) -> Self {
        let listener = TcpListener::bind((on, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let carrying = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let bytes = bytes.start + noise.below(bytes.end - bytes.start);
                connections.spawn(carry(client, to, bytes, cuts.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { at, _carrying: AbortOnDropHandle::new(carrying) }
    }
}

async fn carry(client: TcpStream, to: u16, bytes: u64, cuts: Cuts) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let passed = AtomicU64::new(0);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let end = |before: u64, length: u64| {
        let is_here = (before..before + length).contains(&bytes);
        (is_here && cuts.take()).then(|| bytes - before)
    };
    tokio::select! {
        () = copy(from_client, to_server, &passed, &end) => {}
        () = copy(from_server, to_client, &passed, &end) => {}
    }
}

/// Copies until one side ends the connection, or the line is cut. `end` says how many more bytes come before a cut.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    passed: &AtomicU64,
    end: &impl Fn(u64, u64) -> Option<u64>,
) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let cut = end(passed.fetch_add(length as u64, Ordering::Relaxed), length as u64);
        let part = cut.map_or(length, |rest| usize::try_from(rest).unwrap());
        if to.write_all(&buffer[..part]).await.is_err() || cut.is_some() {
            return;
        }
    }
}
