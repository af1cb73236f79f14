//! A MongoDB server for tests: the real one that `REPLIBOOK_TEST_MONGODB` names, or one that speaks its
//! protocol, which `make test-server` installs. Each test program starts one on a free port.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The variable with the address of a real replica set, to use instead of a server of our own.
const ADDRESS: &str = "REPLIBOOK_TEST_MONGODB";

/// How long the server may take until it listens: the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the server until stdin closes, which happens when this process ends, in whatever way. Then it removes
/// what the server left. A line on stdin is a signal for the server, or says that it is to die, or that it is
/// to be started again at a port. The arguments are the program, the directory, and more arguments for the
/// server.
const GUARD: &str = r#"
trap '' TERM INT HUP
program=$1 directory=$2; shift 2
cd "$directory" || exit 1
start() {
    port=$1; shift
    "$program" --port "$port" --storage-path "$directory/data" "$@" >log 2>&1 </dev/null &
    server=$!
}
die() { kill -9 $server; wait $server 2>/dev/null; }
start 0 "$@"
while read -r what which; do
    case $what in
        signal) kill -"$which" $server ;;
        die) die; : >log; : >dead ;;
        start) start "$which" "$@" ;;
    esac
done
die
cd / && rm -rf "$directory"
"#;

/// A server, until this is dropped or the process ends.
pub(crate) struct TestServer {
    address: String,
    port: u16,
    directory: PathBuf,
    guard: Child,
}

impl TestServer {
    /// Starts a server with additional arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = program();
        let directory = tempfile::Builder::new().prefix("replibook-mongodb-").tempdir().unwrap();
        // The guard removes the directory: it outlives this process.
        let directory = directory.keep();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&program)
            .arg(&directory)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { address: String::new(), port: 0, directory, guard };
        server.port = listening(&server.directory.join("log"));
        server.address = format!("mongodb://127.0.0.1:{}/?directConnection=true", server.port);
        server
    }

    /// Kills the server (SIGKILL), and returns once it is dead.
    pub(crate) fn die(&self) {
        self.tell("die", "");
        let (dead, deadline) = (self.directory.join("dead"), Instant::now() + START_LIMIT);
        while !dead.exists() {
            assert!(Instant::now() < deadline, "the MongoDB server does not die");
            std::thread::sleep(LOOK);
        }
    }

    /// Starts a server that has died again, at the same address and on the same data.
    pub(crate) fn rise(&self) {
        self.tell("start", &self.port.to_string());
        assert_eq!(listening(&self.directory.join("log")), self.port);
    }

    /// Has the server answer nothing, while all its connections stay open.
    pub(crate) fn freeze(&self) {
        self.tell("signal", "STOP");
    }

    /// Has the server answer again.
    pub(crate) fn thaw(&self) {
        self.tell("signal", "CONT");
    }

    fn tell(&self, what: &str, which: &str) {
        use std::io::Write as _;
        writeln!(self.guard.stdin.as_ref().unwrap(), "{what} {which}").unwrap();
    }

    /// The address of the server, without a database.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The address of the server that all tests of this program share; each test has a database of its own.
pub(crate) fn shared() -> &'static str {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    match real() {
        Some(address) => address,
        None => SERVER.get_or_init(|| TestServer::start(&["--enable-test-commands"])).address(),
    }
}

/// The address of a real server; none if the tests start one.
pub(crate) fn real() -> Option<&'static str> {
    static REAL: OnceLock<Option<String>> = OnceLock::new();
    REAL.get_or_init(|| std::env::var(ADDRESS).ok()).as_deref()
}

/// The same address with a database.
pub(crate) fn with_database(address: &str, database: &str) -> String {
    let (host, options) = address.split_once('?').unwrap_or((address, ""));
    let host = host.strip_suffix('/').unwrap_or(host);
    format!("{host}/{database}?{options}")
}

fn program() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let program =
        cache.or_else(home).unwrap_or_default().join("replibook/tools/mongodb-test-server");
    assert!(
        program.is_file(),
        "found no MongoDB server for tests: expected the address of a replica set in {ADDRESS}, or \
         {}, which `make test-server` installs",
        program.display()
    );
    program
}

/// The port in `… listening on 127.0.0.1:PORT`, once the log has that line.
fn listening(log: &Path) -> u16 {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(log) {
            let _ = file.read_to_string(&mut text);
        }
        let lines = text.lines().filter(|line| line.contains("listening on"));
        let port = lines.filter_map(|line| line.trim().rsplit_once(':')?.1.parse().ok()).next();
        if let (Some(port), true) = (port, text.ends_with('\n')) {
            return port;
        }
        assert!(Instant::now() < deadline, "the MongoDB server does not listen:\n{text}");
        std::thread::sleep(LOOK);
    }
}
