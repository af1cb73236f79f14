//! Requests over real sockets, to servers that do what they should not.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::playbook::{Grants, PluginKind, PluginPin};
use crate::run::{Answer, Digest, Scrubber, SecretText};

/// A server that sends `answer` to each connection, and then goes on with `forever`. Returns its port, and what it
/// was asked, once for each connection.
async fn server(
    answer: &str,
    forever: &'static [u8],
) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let answer = answer.to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tell, answer) = (tell.clone(), answer.clone());
            tokio::spawn(async move {
                let mut asked = Vec::new();
                let mut piece = [0; 4_096];
                while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => asked.extend_from_slice(&piece[..read]),
                    }
                }
                let _ = tell.send(String::from_utf8_lossy(&asked).into_owned());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                while !forever.is_empty() && stream.write_all(forever).await.is_ok() {}
            });
        }
    });
    (port, told)
}

fn sending(method: &str, url: &str, timeout: u32) -> Sending {
    let plugin = PluginPin {
        source: "builtin:http".to_owned(),
        digest: Digest::of(b"http"),
        kind: PluginKind::Step,
        name: "http".to_owned(),
        version: "1.0.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    Sending {
        request: HttpRequest::new(method, url, Vec::new(), b"", timeout).unwrap(),
        key: Uuid::from_u128(7),
        caller: Caller { playbook: "p".to_owned(), plugin },
    }
}

fn outbound(networks: Networks) -> HttpOutbound {
    HttpOutbound::new(Arc::new(networks)).unwrap()
}

async fn get(url: &str) -> Result<HttpResponse, HttpError> {
    outbound(Networks::loopback()).send(sending("GET", url, 5_000)).await
}

#[tokio::test]
async fn a_request_arrives_with_its_key_and_a_redirect_is_an_answer() {
    let answer =
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 2\r\n\r\nhi";
    let (port, mut told) = server(answer, b"").await;
    let response = get(&format!("http://127.0.0.1:{port}/a?b=c")).await.unwrap();
    assert_eq!((response.status, response.body.bytes()), (302, &b"hi"[..]));
    let location = ("location".to_owned(), "http://169.254.169.254/".to_owned());
    assert!(response.headers.contains(&location), "{:?}", response.headers);
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
    let key = Uuid::from_u128(7).to_string();
    assert!(asked.contains(&format!("idempotency-key: {key}")), "{asked}");
    assert!(told.try_recv().is_err(), "it is followed by nothing");
}

#[tokio::test]
async fn what_is_not_public_is_reached_only_where_a_network_has_it() {
    let (port, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").await;
    let nowhere = outbound(Networks::default());
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "169.254.169.254"] {
        let url = format!("http://{host}:{port}/");
        let error = nowhere.send(sending("GET", &url, 5_000)).await.unwrap_err();
        let HttpError::NotGranted(message) = &error else { panic!("{host}: {error}") };
        assert!(message.contains("may not be reached"), "{message}");
    }
    assert!(told.try_recv().is_err(), "no request arrived");
    assert!(get(&format!("http://localhost:{port}/")).await.is_ok());
}

/// A name that is public when it is first asked for, and loopback from then on.
struct Rebinding(AtomicUsize);

#[async_trait]
impl Lookup for Rebinding {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let public = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if public { "192.0.3.1" } else { "127.0.0.1" };
        Ok(vec![address.parse().map_err(io::Error::other)?])
    }
}

#[tokio::test]
async fn a_name_that_means_another_address_at_the_second_look_is_not_followed() {
    let (port, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").await;
    let lookup = Arc::new(Rebinding(AtomicUsize::new(0)));
    let outbound =
        HttpOutbound::with_lookup(Arc::new(Networks::default()), lookup.clone()).unwrap();
    let url = format!("http://rebinding.example:{port}/");
    // Nobody is at the first address.
    let first = outbound.send(sending("GET", &url, 200)).await.unwrap_err();
    assert!(!matches!(first, HttpError::NotGranted(_)), "{first}");
    let second = outbound.send(sending("GET", &url, 5_000)).await.unwrap_err();
    assert!(matches!(second, HttpError::NotGranted(_)), "{second}");
    assert!(told.try_recv().is_err(), "no request arrived");
    assert!(lookup.0.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 30);
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(70));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\ncontent-length: 0\r\n\r\n", "b".repeat(20_000));
    for (answer, expected) in [
        (large.as_str(), "more than 1048576 bytes"),
        (many.as_str(), "71 headers"),
        (long.as_str(), "expected at most 64 headers of 16384 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", ""),
        ("nonsense\r\n\r\n", ""),
    ] {
        let (port, _told) = server(answer, b"").await;
        let error = get(&format!("http://127.0.0.1:{port}/x?token=hidden")).await.unwrap_err();
        let HttpError::Failed(message) = &error else { panic!("{error}") };
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("hidden"), "{message}");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    // One chunk of 1 KiB, again and again.
    let mut chunk = b"400\r\n".to_vec();
    chunk.extend_from_slice(&[b'x'; 1_024]);
    chunk.extend_from_slice(b"\r\n");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (port, _told) = server(head, Box::leak(chunk.into_boxed_slice())).await;
    let error = get(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(error.to_string().contains("has more than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn a_secret_in_two_pieces_of_an_answer_is_taken_out() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "a\r\nsaid: corr\r\nc\r\nect horse ok\r\n0\r\n\r\n";
    let (port, _told) = server(&format!("{head}{body}"), b"").await;
    let response = get(&format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(response.body.bytes(), b"said: correct horse ok");
    let secret = SecretText::read("pager", b"correct horse").unwrap();
    let answer = Scrubber::new([&secret]).answer(Answer::HttpSend(Ok(response)));
    let Answer::HttpSend(Ok(kept)) = &answer else { panic!("{answer:?}") };
    assert_eq!(kept.body.bytes(), b"said: [secret] ok");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (port, _told) = server("", b"").await;
    let url = format!("http://127.0.0.1:{port}/");
    let outbound = outbound(Networks::loopback());
    // The connection is closed at once, and here it is never answered.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let error = outbound.send(sending("GET", &silent, 100)).await.unwrap_err();
    assert!(
        matches!(&error, HttpError::TimedOut(said) if said.contains("within 100 ms")),
        "{error}"
    );
    let error = outbound.send(sending("GET", &url, 5_000)).await.unwrap_err();
    assert!(matches!(error, HttpError::Failed(_)), "{error}");
}

#[tokio::test]
async fn a_connection_is_not_lent_to_whoever_may_not_make_it() {
    let (port, mut told) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").await;
    struct ByPlaybook;
    #[async_trait]
    impl Reachable for ByPlaybook {
        async fn networks(&self, caller: &Caller) -> Result<Networks, HttpError> {
            let is_p = caller.playbook == "p";
            Ok(if is_p { Networks::loopback() } else { Networks::default() })
        }
    }
    let outbound = HttpOutbound::new(Arc::new(ByPlaybook)).unwrap();
    let url = format!("http://localhost:{port}/");
    assert!(outbound.send(sending("GET", &url, 5_000)).await.is_ok());
    let mut other = sending("GET", &url, 5_000);
    other.caller.playbook = "q".to_owned();
    let error = outbound.send(other).await.unwrap_err();
    assert!(matches!(error, HttpError::NotGranted(_)), "{error}");
    assert!(told.recv().await.is_some() && told.try_recv().is_err());
}
