//! Where a node is: what it takes to get a shell there.

use std::fmt;

/// A node, and the folder on it that belongs to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// How the node is reached.
    pub place: Place,
    /// The folder on the node in which jobs are kept. A path that does not begin with `/` is one in the home of the
    /// user there.
    pub folder: String,
}

/// The folder on a node, unless the inventory names another.
pub const DEFAULT_FOLDER: &str = ".replibook-gateway";

impl Node {
    /// A node whose jobs are in the usual folder.
    pub fn at(place: Place) -> Self {
        Self { place, folder: DEFAULT_FOLDER.to_owned() }
    }
}

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Over SSH, by the OpenSSH client of this machine and its configuration.
    Ssh {
        /// A name, an address, or an alias of `ssh_config`.
        host: String,
        /// Unless the configuration of SSH names one.
        user: Option<String>,
        /// Unless the configuration of SSH names one.
        port: Option<u16>,
    },
    /// The machine of the gateway.
    Local,
    /// A container of this machine.
    Container {
        /// Whose container it is.
        engine: Engine,
        /// Name or identifier of the container.
        name: String,
        /// Unless the image names one.
        user: Option<String>,
    },
    /// A pod of a Kubernetes cluster that `kubectl` can reach.
    Pod {
        /// Context of `kubectl`; its present one by default.
        context: Option<String>,
        /// Namespace; that of the context by default.
        namespace: Option<String>,
        /// Name of the pod.
        pod: String,
        /// Which of its containers; the first by default.
        container: Option<String>,
    },
}

/// A program that runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `docker`.
    Docker,
    /// `podman`.
    Podman,
}

impl Engine {
    /// The name of its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// As people write it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh { host, user, port } => {
                f.write_str("ssh ")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Self::Local => f.write_str("this machine"),
            Self::Container { engine, name, .. } => {
                write!(f, "{} container {name}", engine.program())
            }
            Self::Pod { namespace, pod, .. } => match namespace {
                Some(namespace) => write!(f, "pod {namespace}/{pod}"),
                None => write!(f, "pod {pod}"),
            },
        }
    }
}
