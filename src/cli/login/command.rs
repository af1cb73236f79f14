//! The commands: which issuer, what the person has to do, and where the outcome is kept.

use super::device::{self, Invitation};
use super::error::LoginFailed;
use super::kept::Login;
use crate::access::oidc::{OidcBounds, Provider};
use crate::api::wire::IssuerView;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::clock::{Clock, SystemClock};

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Short name of the issuer at which to log in; it may be omitted if the server knows one only
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
}

/// Where a login is kept.
pub(crate) trait LoginPlace {
    /// Reads what is kept, changes it, and writes that, while no other program does. Without a change nothing is written.
    fn change(
        &self,
        change: impl AsyncFnOnce(Option<Login>) -> Result<Change, CliError>,
    ) -> impl Future<Output = Result<Option<Login>, CliError>>;
}

/// What becomes of what is kept.
pub(crate) enum Change {
    /// Nothing.
    Stays(Option<Login>),
    /// This is kept in its place, or nothing any more.
    Becomes(Option<Login>),
}

/// Has a person log in.
pub(crate) async fn login(
    client: &Client,
    args: &LoginArgs,
    place: &impl LoginPlace,
    console: &Console,
) -> Result<Exit, CliError> {
    let issuers = client.issuers().await?.items;
    let (issuer, with) = chosen(&issuers, args.issuer.as_deref())?;
    let provider = Provider::new(&issuer.issuer, OidcBounds::default());
    let provider = provider.map_err(LoginFailed::Issuer)?;
    let said = provider.describe().await.map_err(LoginFailed::Issuer)?;
    let clock = SystemClock;
    let invitation = device::begin(&provider, &said, with, &clock).await?;
    invite(&invitation, issuer, &clock, console);
    let tokens = tokio::select! {
        biased;
        // Without a way to hear it, Ctrl-C ends the program as usual.
        Ok(()) = tokio::signal::ctrl_c() => return Err(CliError::Interrupted("nobody has logged in")),
        tokens = device::wait(&provider, &said, with, &invitation, &clock) => tokens?,
    };
    let login = Login::of(&issuer.issuer, with, &issuer.audience, tokens)?;
    place.change(async |_| Ok(Change::Becomes(Some(login)))).await?;
    console.say(&format!("logged in at {}", issuer.name));
    Ok(Exit::Ok)
}

/// The issuer to log in at, and the client identifier for it.
fn chosen<'a>(
    issuers: &'a [IssuerView],
    name: Option<&str>,
) -> Result<(&'a IssuerView, &'a str), LoginFailed> {
    let usable = || issuers.iter().filter_map(|one| Some((one, one.client.as_deref()?)));
    let names = usable().map(|(one, _)| one.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => usable().find(|(one, _)| one.name == name),
        None => usable().next().filter(|_| usable().count() == 1),
    };
    found.ok_or_else(|| {
        LoginFailed::NoIssuer(match (names.is_empty(), name) {
            (true, _) => "the server knows no issuer at which people log in".to_owned(),
            (false, Some(name)) => format!("--issuer: found {name:?}, expected one of {names}"),
            (false, None) => format!("expected --issuer NAME, one of {names}"),
        })
    })
}

/// Tells the person what to do.
fn invite(invitation: &Invitation, issuer: &IssuerView, clock: &dyn Clock, console: &Console) {
    let minutes = invitation.until().since(clock.now()).0 / 60_000;
    console.say(&format!("to log in at {} ({}), open", issuer.name, issuer.issuer));
    console.say_indented(invitation.at_once().as_str(), 2);
    console.say(&format!(
        "in any browser within {minutes} minutes, and check that it shows the code {}",
        invitation.code()
    ));
}

/// Forgets the login.
pub(crate) async fn logout(place: &impl LoginPlace, console: &Console) -> Result<Exit, CliError> {
    let mut was = false;
    let forget = async |login: Option<Login>| -> Result<Change, CliError> {
        was = login.is_some();
        Ok(if was { Change::Becomes(None) } else { Change::Stays(None) })
    };
    place.change(forget).await?;
    console.say(if was { "logged out" } else { "nobody was logged in" });
    Ok(Exit::Ok)
}

/// The login that is kept, with a token that does not end soon: where it would, the issuer makes another one, which is
/// kept in its place.
pub(crate) async fn fresh(place: &impl LoginPlace) -> Result<Option<Login>, CliError> {
    let renew = async |login: Option<Login>| -> Result<Change, CliError> {
        match login {
            Some(login) if login.ends_soon(&SystemClock) => {
                Ok(Change::Becomes(Some(login.renewed().await?)))
            }
            login => Ok(Change::Stays(login)),
        }
    };
    place.change(renew).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str, client: Option<&str>) -> IssuerView {
        IssuerView {
            name: name.to_owned(),
            issuer: format!("https://{name}.example.com"),
            audience: "replibook".to_owned(),
            client: client.map(str::to_owned),
        }
    }

    #[test]
    fn an_issuer_is_chosen_by_name_or_is_the_only_one() {
        let (id, corp, other) =
            (issuer("id", Some("a")), issuer("corp", Some("b")), issuer("other", None));
        let of = |issuers: &[IssuerView], name: Option<&str>| {
            chosen(issuers, name)
                .map(|(_, client)| client.to_owned())
                .map_err(|error| error.to_string())
        };
        let all = [id.clone(), corp, other.clone()];
        assert_eq!(of(&all, Some("corp")).as_deref(), Ok("b"));
        assert_eq!(of(&[id, other.clone()], None).as_deref(), Ok("a"));
        for (issuers, name, says) in [
            (&all[..], None, "expected --issuer NAME, one of id, corp"),
            (&all[..], Some("other"), "found \"other\", expected one of id, corp"),
            (&[other][..], None, "knows no issuer"),
            (&[][..], Some("id"), "knows no issuer"),
        ] {
            assert!(of(issuers, name).unwrap_err().contains(says));
        }
    }
}
