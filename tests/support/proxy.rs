//! A proxy between a client and its MongoDB server, which can lose answers.
//!
//! No fail point can lose an answer: here the server has done what it was asked, and the client sees its
//! connection end.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The largest message that a server takes, in bytes.
const MAX_MESSAGE: usize = 48 * 1024 * 1024;

/// Length of the header of a message, in bytes.
const HEADER: usize = 16;

/// A proxy between clients and a server, until this is dropped.
pub(crate) struct Proxy {
    address: String,
    losses: Losses,
    _accepting: AbortOnDropHandle<()>,
}

/// Commands whose answers are to be lost. Each entry is for one answer.
type Losses = Arc<Mutex<Vec<&'static str>>>;

impl Proxy {
    /// Starts a proxy in front of the server at `address`.
    pub(crate) async fn start(address: &str) -> Self {
        let server = address.strip_prefix("mongodb://").unwrap();
        let server = server[..server.find('/').unwrap_or(server.len())].to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let losses = Losses::default();
        let taken = losses.clone();
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, losses) = (server.clone(), taken.clone());
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        between(client, server, losses).await;
                    }
                });
            }
        }));
        let address = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        Self { address, losses, _accepting: accepting }
    }

    /// The address of the proxy, without a database.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Loses the answers to the next commands with these names. The server carries them out.
    pub(crate) fn lose_answers(&self, commands: &[&'static str]) {
        self.losses.lock().unwrap().extend(commands);
    }

    /// Stops losing answers, and returns how many were still to be lost.
    pub(crate) fn mend(&self) -> usize {
        std::mem::take(&mut *self.losses.lock().unwrap()).len()
    }
}

/// Carries messages until either side ends the connection or an answer is lost.
async fn between(client: TcpStream, server: TcpStream, losses: Losses) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let losing = Mutex::new(false);
    let asking = async {
        while let Some(message) = read(&mut from_client).await {
            let asked = losses.lock().map(|mut losses| {
                let found = losses.iter().position(|name| is_command(&message, name));
                found.map(|found| losses.remove(found)).is_some()
            });
            if asked.unwrap() {
                *losing.lock().unwrap() = true;
            }
            if to_server.write_all(&message).await.is_err() {
                break;
            }
        }
    };
    let answering = async {
        while let Some(message) = read(&mut from_server).await {
            if *losing.lock().unwrap() || to_client.write_all(&message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

/// Reads a whole message; none if there will be no more.
async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
    assert!((HEADER..=MAX_MESSAGE).contains(&length), "a message of {length} bytes");
    message.resize(length, 0);
    from.read_exact(&mut message[HEADER..]).await.ok()?;
    Some(message)
}

/// Whether a message asks for the command `name`: the first field of its document has that name.
fn is_command(message: &[u8], name: &str) -> bool {
    // After the header: flags, kind of the section, length of the document, type of the field.
    const FIELD: usize = HEADER + 4 + 1 + 4 + 1;
    message.get(FIELD..).is_some_and(|field| {
        field.starts_with(name.as_bytes()) && field.get(name.len()) == Some(&0)
    })
}
