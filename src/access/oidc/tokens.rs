//! Tokens as issuers hand them out (RFC 6749), and refusals in their place.

use serde::Deserialize;
use url::Url;

use super::bounds::MAX_TOKEN;
use super::provider::Provider;
use super::text::shown;

/// What an issuer hands out. It is never shown, and so has no text for debugging.
#[derive(Clone, Default, Deserialize)]
pub struct Tokens {
    /// Says who has logged in.
    pub id_token: Option<String>,
    /// Lets a program use a service.
    pub access_token: Option<String>,
    /// Makes further tokens.
    pub refresh_token: Option<String>,
}

/// Why an issuer hands out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the refusal.
    pub code: String,
    /// The code and what the issuer says about it, for people.
    pub shown: String,
}

#[derive(Deserialize)]
struct RefusalAnswer {
    error: String,
    error_description: Option<String>,
}

impl Provider {
    /// Asks for tokens.
    ///
    /// # Errors
    /// The issuer does not answer, or not in the way of an issuer; the text says what was found.
    pub async fn tokens(
        &self,
        to: &Url,
        form: &[(&str, &str)],
    ) -> Result<Result<Tokens, Refusal>, String> {
        let (granted, body) = self.post(to, form).await?;
        if !granted {
            return Ok(Err(Refusal::read(&body)?));
        }
        // The parser's message may quote the answer, which has tokens.
        let tokens: Tokens = serde_json::from_slice(&body)
            .map_err(|_| "expected a JSON object with tokens".to_owned())?;
        let all = [&tokens.id_token, &tokens.access_token, &tokens.refresh_token];
        let longest = all.into_iter().flatten().map(String::len).max().unwrap_or_default();
        if longest > MAX_TOKEN {
            return Err(format!("found a token of {longest} bytes, expected at most {MAX_TOKEN}"));
        }
        Ok(Ok(tokens))
    }
}

impl Refusal {
    /// Reads the body of a refusal.
    ///
    /// # Errors
    /// It is none; the text says what was expected.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let read: RefusalAnswer = serde_json::from_slice(body)
            .map_err(|_| "expected a JSON object with tokens, or with `error`".to_owned())?;
        let more = read.error_description.map(|text| format!(": {}", shown(&text)));
        let shown = format!("{}{}", shown(&read.error), more.unwrap_or_default());
        Ok(Self { code: read.error, shown })
    }
}
