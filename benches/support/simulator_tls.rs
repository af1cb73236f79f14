//! Where the simulated agents are: at one address with a path for each, or each at an address of its own; and perhaps
//! behind TLS, where they ask for a certificate, as agents on a network do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs, io};

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::{Authority, Files, Issued, put};

/// The name of the credentials with which the server reaches the agents.
pub(crate) const CREDENTIALS: &str = "bench";

/// The variables that tell the simulator of this: the folder for the server's credentials, and how many addresses there are.
const FOLDER: &str = "REPLIBOOK_BENCH_FOLDER";
const ADDRESSES: &str = "REPLIBOOK_BENCH_ADDRESSES";
const SECURED: &str = "REPLIBOOK_BENCH_SECURED";

/// Where the agents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// How many have an address of their own; zero: all are at one address.
    pub(crate) addresses: usize,
    /// Whether they have TLS, and ask for a certificate.
    pub(crate) secured: bool,
}

impl Places {
    pub(super) fn tell(self, command: &mut Command, folder: &Path) {
        command.env(FOLDER, folder).env(ADDRESSES, self.addresses.to_string());
        if self.secured {
            command.env(SECURED, "yes");
        }
    }
}

/// The address of one of many: all of 127.0.0.0/8 are this machine.
fn own(n: usize) -> Ipv4Addr {
    let [_, high, middle, low] = u32::try_from(n).unwrap().to_be_bytes();
    Ipv4Addr::new(127, high + 1, middle, low)
}

/// The base URL of the agent with this number, of agents that have addresses of their own. `base` is where all of them listen.
pub(crate) fn address(base: &str, n: usize) -> String {
    base.replace("127.0.0.1", &own(n).to_string())
}

/// The file with the address at which the simulator says what it did, without TLS.
pub(crate) fn control(folder: &Path) -> PathBuf {
    folder.with_file_name("control")
}

/// How the simulator is reached.
#[derive(Default)]
pub(super) struct Site {
    folder: Option<PathBuf>,
    addresses: usize,
    /// One for each address.
    acceptors: Vec<TlsAcceptor>,
}

impl Site {
    /// What this process was told. Makes an authority and all certificates, and puts into the folder what the server needs.
    pub(super) fn asked() -> Self {
        let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return Self::default() };
        let addresses: usize = env::var(ADDRESSES).unwrap().parse().unwrap();
        let acceptors = match env::var_os(SECURED) {
            Some(_) => acceptors(&folder, addresses),
            None => Vec::new(),
        };
        Self { folder: Some(folder), addresses, acceptors }
    }

    pub(super) fn listens_on(&self) -> &'static str {
        match self.addresses {
            0 => "127.0.0.1:0",
            _ => "0.0.0.0:0",
        }
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.acceptors.is_empty() { "http" } else { "https" }
    }

    /// Leaves word of where it can be asked without TLS.
    pub(super) fn tell(&self, at: SocketAddr) -> io::Result<()> {
        self.folder
            .as_ref()
            .map_or(Ok(()), |folder| fs::write(control(folder), format!("http://{at}")))
    }

    /// How a connection to this address is secured, if it is.
    pub(super) fn acceptor(&self, to: IpAddr) -> Option<TlsAcceptor> {
        let IpAddr::V4(ip) = to else { return None };
        let [_, high, middle, low] = ip.octets();
        let number = u32::from_be_bytes([0, high.saturating_sub(1), middle, low]);
        let index = if self.addresses == 0 { 0 } else { number as usize };
        self.acceptors.get(index).cloned()
    }
}

fn acceptors(folder: &Path, addresses: usize) -> Vec<TlsAcceptor> {
    let authority = Authority::new("the bench");
    let client = authority.issue(&["engine"]);
    let (ca, identity) = (Some(&authority), Some(&client));
    let origins = ["https://*:*"];
    put(
        folder,
        CREDENTIALS,
        &Files { used: "agent", origins: &origins, ca, identity, token: None },
    );
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    let mut common = builder.with_cert_resolver(Arc::new(Of(None)));
    common.ticketer = Ticketer::new().unwrap();
    let acceptor = |ip: Ipv4Addr| {
        let mut config = common.clone();
        config.cert_resolver = Arc::new(Of(Some(certified(&authority.issue(&[&ip.to_string()])))));
        TlsAcceptor::from(Arc::new(config))
    };
    match addresses {
        0 => vec![acceptor(Ipv4Addr::LOCALHOST)],
        _ => (0..addresses).map(|n| acceptor(own(n))).collect(),
    }
}

/// The one certificate of an address. Clients do not name addresses in their greeting, so there is nothing to choose by.
#[derive(Debug)]
struct Of(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Of {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

fn certified(issued: &Issued) -> Arc<CertifiedKey> {
    let chain =
        CertificateDer::pem_slice_iter(issued.cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    Arc::new(CertifiedKey::from_der(chain, key, &default_provider()).unwrap())
}

/// Whether a handshake went on with an earlier session, as an index.
pub(super) fn kind(stream: &TlsStream<TcpStream>) -> usize {
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => 1,
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => 0,
    }
}
