//! A server that answers whatever a test says, at whatever pace, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A request as it came: its first line and headers, in lower case but for the first line.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
}

impl Asked {
    pub(crate) fn is_for(&self, part: &str) -> bool {
        self.line.contains(part)
    }

    /// Whether this asks for what refers to a plugin: its signatures.
    pub(crate) fn is_for_signatures(&self) -> bool {
        self.is_for("/referrers/") || self.is_for("/manifests/sha256-")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What is sent for a request.
pub(crate) enum Reply {
    /// Status, further lines of the head, and a body with its length.
    Whole(u16, Vec<String>, Vec<u8>),
    /// A body without a length, of this piece again and again, with a pause between two.
    Endless(Vec<u8>, Duration),
    /// A body that is said to be longer than it is.
    CutOff(usize, Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
}

impl Reply {
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::Whole(200, Vec::new(), value.to_string().into_bytes())
    }

    pub(crate) fn status(status: u16, head: &str) -> Self {
        let head = if head.is_empty() { Vec::new() } else { vec![head.to_owned()] };
        Self::Whole(status, head, Vec::new())
    }
}

/// The server. It ends when this is dropped.
pub(crate) struct Liar {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Liar {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::secured(None, answer).await
    }

    /// With TLS, if there is an acceptor.
    pub(crate) async fn secured(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (kept, answer) = (asked.clone(), Arc::new(answer));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (kept, answer, acceptor) = (kept.clone(), answer.clone(), acceptor.clone());
                connections.spawn(async move {
                    let _ = match acceptor {
                        None => serve(stream, &kept, answer.as_ref()).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, &kept, answer.as_ref()).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { host, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    kept: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let lower = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    let asked = Asked { line, headers: lines.map(lower).collect() };
    kept.lock().unwrap().push(asked.clone());
    match answer(&asked) {
        Reply::Whole(status, further, body) => {
            let mut answer = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n");
            further.iter().for_each(|line| answer.push_str(&format!("{line}\r\n")));
            answer.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
            stream.write_all(answer.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Endless(piece, pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            let mut ticks = tokio::time::interval(pause.max(Duration::from_micros(1)));
            loop {
                ticks.tick().await;
                stream.write_all(&piece).await?;
            }
        }
        Reply::CutOff(length, body) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
    }
    stream.shutdown().await?;
    // A connection that is closed before all of the request was read is reset, and the answer lost with it.
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
