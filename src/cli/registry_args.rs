//! How registries are reached: the arguments that the server and `replictl` share.

use std::path::PathBuf;

use super::error::CliError;
use crate::credentials::{Credentials, CredentialsError};
use crate::registry::{Origin, Registries, RegistryConfig};

/// Arguments about registries.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RegistryArgs {
    /// Folder of credentials: one folder each, with a `for.yaml` that says what it is for and for which origins
    #[arg(long, value_name = "DIR")]
    pub credentials: Option<PathBuf>,
    /// File with the passwords of registries, as docker writes it: its `config.json`
    #[arg(long, value_name = "FILE")]
    pub docker_config: Option<PathBuf>,
    /// Registry that is asked without encryption; those on this machine are anyway. May be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub registry_plain_http: Vec<String>,
}

impl RegistryArgs {
    /// The registries, with these credentials and no others.
    ///
    /// # Errors
    /// A folder of credentials can't be read.
    pub(crate) fn registries(&self) -> Result<Registries, CredentialsError> {
        let credentials = self.opened_credentials()?;
        Ok(Registries::new(RegistryConfig {
            credentials,
            docker: self.docker_config.clone(),
            plain_http: self.registry_plain_http.clone(),
            ..RegistryConfig::default()
        }))
    }

    /// The folder of credentials, if there is one.
    ///
    /// # Errors
    /// As [`registries`](Self::registries).
    pub(crate) fn opened_credentials(&self) -> Result<Option<Credentials>, CredentialsError> {
        self.credentials.as_deref().map(Credentials::open).transpose()
    }

    /// The same for a person, whose own file of docker counts if none is named.
    ///
    /// # Errors
    /// As [`registries`](Self::registries).
    pub(crate) fn of_person(&self) -> Result<Registries, CliError> {
        let docker_config = self.docker_config.clone().or_else(own_docker_config);
        Ok(Self { docker_config, ..self.clone() }.registries()?)
    }
}

/// The file that docker writes for this person, if it is there.
fn own_docker_config() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let folder = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")))?;
    Some(folder.join("config.json")).filter(|file| file.is_file())
}

fn parse_host(text: &str) -> Result<String, String> {
    let origin: Result<Origin, _> = format!("http://{text}").parse();
    match origin {
        Ok(origin) if !text.contains('/') => Ok(origin.authority()),
        Ok(_) | Err(_) => {
            Err(format!("found {text:?}, expected a host such as registry.example.com:5000"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port_and_nothing_else() {
        assert_eq!(parse_host("Registry.example.com").as_deref(), Ok("registry.example.com"));
        assert_eq!(parse_host("[::2]:5000").as_deref(), Ok("[::2]:5000"));
        for bad in ["", "http://a", "a/b", "a:b", "u@a", "a/"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }
}
