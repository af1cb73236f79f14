//! Carriers: the commands that give a shell on a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use super::answer::shorten;
use super::error::{NodeError, Trouble};
use super::exchange::{Ended, Heard};
use super::order::{refused, user_name};
use super::place::{Engine, Place};
use super::ssh::{self, Masters, Session, Target};
use crate::clock::Clock;

/// Which programs reach nodes.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `ssh`, of OpenSSH.
    pub ssh: PathBuf,
    /// A configuration of `ssh` in the place of the usual one.
    pub ssh_config: Option<PathBuf>,
    /// `docker`.
    pub docker: PathBuf,
    /// `podman`.
    pub podman: PathBuf,
    /// `kubectl`.
    pub kubectl: PathBuf,
    /// The shell of this machine, which `PATH` finds.
    pub sh: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            ssh: "ssh".into(),
            ssh_config: None,
            docker: Engine::Docker.program().into(),
            podman: Engine::Podman.program().into(),
            kubectl: "kubectl".into(),
            sh: "sh".into(),
        }
    }
}

/// How long to wait before another try if a server takes no more sessions.
const FULL_WAIT: Duration = Duration::from_millis(200);

/// All ways to nodes.
pub(super) struct Carriers {
    programs: Programs,
    masters: Masters,
}

/// A way to one node, open for one exchange.
pub(super) struct Way {
    ssh: Option<(Target, Session)>,
}

impl Carriers {
    pub(super) fn new(programs: Programs, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let masters = Masters::new(programs.ssh.clone(), programs.ssh_config.clone(), clock)?;
        Ok(Self { programs, masters })
    }

    /// Opens a way to a node. Nothing has happened there when this fails.
    pub(super) async fn open(&self, place: &Place) -> Result<Way, Trouble> {
        check(place)?;
        let Place::Ssh { host, user, port } = place else { return Ok(Way { ssh: None }) };
        let target = Target { host: host.clone(), user: user.clone(), port: *port };
        let session = self.masters.session(&target).await?;
        Ok(Way { ssh: Some((target, session)) })
    }

    /// The process that runs these words on the node.
    pub(super) fn command(&self, place: &Place, way: &Way, words: &[&str]) -> Command {
        if let Some((target, session)) = &way.ssh {
            return self.masters.command(target, session, words);
        }
        let mut command;
        match place {
            Place::Local | Place::Ssh { .. } => {
                command = Command::new(&self.programs.sh);
                command.args(words.get(1..).unwrap_or_default());
                return command;
            }
            Place::Container { engine, name, user } => {
                command = Command::new(match engine {
                    Engine::Docker => &self.programs.docker,
                    Engine::Podman => &self.programs.podman,
                });
                command.args(["exec", "-i"]);
                if let Some(user) = user {
                    command.arg("--user").arg(user);
                }
                command.arg(name);
            }
            Place::Pod { context, namespace, pod, container } => {
                command = Command::new(&self.programs.kubectl);
                if let Some(context) = context {
                    command.arg(format!("--context={context}"));
                }
                if let Some(namespace) = namespace {
                    command.arg(format!("--namespace={namespace}"));
                }
                command.args(["exec", "-i", pod]);
                if let Some(container) = container {
                    command.arg("-c").arg(container);
                }
                command.arg("--");
            }
        }
        command.args(words);
        command
    }

    /// Whether a session can be given up while its job goes on only if it does not stay with it. A server of SSH counts
    /// a session until its first process ends. Other carriers end what their first process leaves.
    pub(super) const fn stays(place: &Place) -> bool {
        match place {
            Place::Ssh { .. } => false,
            Place::Local | Place::Container { .. } | Place::Pod { .. } => true,
        }
    }

    /// Whether the carrier never came so far as to run anything, for a reason that another try may mend.
    pub(super) async fn mend(&self, way: &Way, heard: &Heard, clock: &dyn Clock) -> bool {
        let Some((_, session)) = &way.ssh else { return false };
        if heard.answer.began() || !ssh::nothing_was_sent(&heard.said) {
            return false;
        }
        match ssh::is_full(&heard.said) {
            // Sessions that were given up a moment ago end by themselves.
            true => clock.sleep(FULL_WAIT).await,
            false => self.masters.forget(session).await,
        }
        true
    }

    /// What is wrong if the script has not answered at all.
    pub(super) fn explain(place: &Place, heard: &Heard) -> NodeError {
        let name = place.to_string();
        let text = String::from_utf8_lossy(&heard.said);
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let said = match heard.said.is_empty() {
            true => heard.answer.stray(),
            false => shorten(&heard.said),
        };
        // `ssh` has one exit code for itself.
        let by_ssh = match heard.ended {
            Ended::Cut(status) => status.is_none_or(|status| status.code() == Some(255)),
            Ended::Whole | Ended::Goes | Ended::TimeIsUp | Ended::TooLong => false,
        };
        match place {
            Place::Ssh { .. } if ssh::nothing_was_sent(&heard.said) => {
                let said =
                    "the connection can't carry another session; see MaxSessions of its sshd"
                        .to_owned();
                NodeError::before(Trouble::Unreachable { place: name, said })
            }
            Place::Ssh { .. } if by_ssh || has(&["mux_client", "Connection to"]) => {
                NodeError::unknown(Trouble::CutOff { place: name, said })
            }
            Place::Ssh { .. } | Place::Local => {
                NodeError::unknown(Trouble::NoShell { place: name, said })
            }
            Place::Container { .. } | Place::Pod { .. } => {
                let gone = [
                    "No such container",
                    "no such container",
                    "no container with name",
                    "is not running",
                    "not found",
                    "NotFound",
                ];
                let refused = [
                    "Cannot connect to",
                    "connection to the server",
                    "Unable to connect",
                    "Forbidden",
                ];
                if has(&["executable file not found", "no such file or directory"]) {
                    NodeError::before(Trouble::NoShell { place: name, said })
                } else if has(&gone) || has(&refused) {
                    NodeError::before(Trouble::Unreachable { place: name, said })
                } else {
                    NodeError::unknown(Trouble::CutOff { place: name, said })
                }
            }
        }
    }

    /// Ends the connections. Blocks.
    pub(super) fn end(&self) {
        self.masters.end_all();
    }
}

/// Checks that no part of an address can be taken for an option.
fn check(place: &Place) -> Result<(), Trouble> {
    let name = |what: &'static str, name: &str| {
        let plain = |c: char| c.is_alphanumeric() || "_.-:@[]%+/".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            return Err(refused(
                what,
                format!("{name:?}"),
                "letters, digits and _ . - : @ [ ] % + /, not beginning with -",
            ));
        }
        Ok(())
    };
    let maybe =
        |what, text: &Option<String>| text.as_deref().map_or(Ok(()), |text| name(what, text));
    let user = |user: &Option<String>| user.as_deref().map_or(Ok(()), user_name);
    match place {
        Place::Local => Ok(()),
        Place::Ssh { host, user: who, port: _ } => name("the host", host).and_then(|()| user(who)),
        Place::Container { engine: _, name: container, user: who } => {
            name("the container", container)?;
            // Containers have numbers for users, with that of a group.
            maybe("the user", who)
        }
        Place::Pod { context, namespace, pod, container } => {
            name("the pod", pod)?;
            maybe("the context", context)?;
            maybe("the namespace", namespace)?;
            maybe("the container", container)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn no_part_of_an_address_is_an_option() {
        let ssh = |host: &str, user: Option<&str>| Place::Ssh {
            host: host.to_owned(),
            user: user.map(str::to_owned),
            port: None,
        };
        for good in [ssh("node-1", Some("root")), ssh("::1", None), Place::Local] {
            assert_eq!(check(&good), Ok(()));
        }
        let container = |name: &str| Place::Container {
            engine: Engine::Docker,
            name: name.to_owned(),
            user: None,
        };
        for bad in [
            ssh("-oProxyCommand=x", None),
            ssh("a b", None),
            ssh("", None),
            ssh("a", Some("-x")),
            ssh("a", Some("a;b")),
            container("--privileged"),
        ] {
            assert!(matches!(check(&bad), Err(Trouble::Refused { .. })), "{bad:?}");
        }
    }

    #[test]
    fn carriers_run_these_words() {
        let carriers = Carriers::new(Programs::default(), Arc::new(SystemClock)).unwrap();
        let way = Way { ssh: None };
        let words = |place: &Place| {
            let command = carriers.command(place, &way, &["sh", "-c", "true"]);
            let command = command.as_std();
            let program = command.get_program().to_str().unwrap();
            let args = command.get_args().map(|arg| arg.to_str().unwrap());
            std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
        };
        let container = |engine, user: Option<&str>| Place::Container {
            engine,
            name: "db".to_owned(),
            user: user.map(str::to_owned),
        };
        let pod = Place::Pod {
            context: Some("c".to_owned()),
            namespace: Some("n".to_owned()),
            pod: "p".to_owned(),
            container: Some("x".to_owned()),
        };
        assert_eq!(words(&Place::Local), "sh -c true");
        assert_eq!(words(&container(Engine::Docker, None)), "docker exec -i db sh -c true");
        assert_eq!(
            words(&container(Engine::Podman, Some("0:0"))),
            "podman exec -i --user 0:0 db sh -c true"
        );
        assert_eq!(words(&pod), "kubectl --context=c --namespace=n exec -i p -c x -- sh -c true");
    }
}
