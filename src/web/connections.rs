//! Connections: never more than there are places, and none keeps its place without using it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future, io};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A listener that accepts a connection only while there is a place for it.
pub(crate) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle: Option<Duration>,
}

impl Limited {
    /// A listener with this many places.
    pub(crate) fn new(listener: TcpListener, places: usize) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(places)), idle: None }
    }

    /// The same, but a connection ends when no byte has passed for this long.
    pub(crate) fn idle_for(self, length: Duration) -> Self {
        Self { idle: Some(length), ..self }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            // The semaphore is never closed.
            return future::pending().await;
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small answers should not wait until there is more to send.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        (Connection { stream, idle: self.idle.map(Idle::new), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it closes.
pub(crate) struct Connection {
    stream: TcpStream,
    idle: Option<Idle>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// The result of a read or write: an error if no byte has passed for too long.
    fn passed<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(idle) = &mut self.idle else { return result };
        if result.is_ready() {
            idle.since = Instant::now();
            return result;
        }
        idle.poll(cx).map(|()| {
            let message = format!("no byte passed for {} s", idle.length.as_secs_f64());
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

/// For how long a connection has passed no byte.
struct Idle {
    length: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(length: Duration) -> Self {
        Self { length, since: Instant::now(), timer: Box::pin(sleep(length)) }
    }

    /// Ready once it was too long. The timer is moved only when it fires, since bytes pass more
    /// often than that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let end = self.since + self.length;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.passed(cx, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.passed(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.passed(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_past_the_limit_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut limited = Limited::new(listener, 1);
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = limited.accept().await;
        assert!(futures::FutureExt::now_or_never(limited.accept()).is_none());
        drop(accepted);
        assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 0);
        limited.accept().await;
    }

    /// A listener with one place, and a client of it.
    async fn impatient() -> (Limited, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Limited::new(listener, 1).idle_for(Duration::from_millis(20)), client)
    }

    #[tokio::test]
    async fn a_client_that_does_not_speak_is_left() {
        let (mut limited, mut client) = impatient().await;
        let (mut accepted, _) = limited.accept().await;
        client.write_all(b"GET").await.unwrap();
        let mut heard = Vec::new();
        let error = accepted.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!((error.kind(), &*heard), (io::ErrorKind::TimedOut, b"GET".as_slice()));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_left() {
        let (mut limited, _client) = impatient().await;
        let (mut accepted, _) = limited.accept().await;
        let much = vec![0; 1024 * 1024];
        let error = loop {
            if let Err(error) = accepted.write_all(&much).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn silent_clients_do_not_keep_the_places_of_a_server() {
        let (limited, mut silent) = impatient().await;
        let mut second = TcpStream::connect(limited.local_addr().unwrap()).await.unwrap();
        let server = axum::serve(limited, axum::Router::new()).into_future();
        let server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(server));
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
        drop(server);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_that_passes_gives_all_the_time_again() {
        let mut idle = Idle::new(Duration::from_secs(60));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(idle.poll(&mut cx).is_pending());
            idle.since = Instant::now();
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(idle.poll(&mut cx).is_ready());
    }
}
