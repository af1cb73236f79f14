//! What a playbook lets a plugin reach, and whether one call is within that.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::names::{self, covers};
use super::secrets::{Destination, SecretGrant};

/// Capabilities that a playbook gives to a plugin. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Grants {
    /// Kinds of action; a `*` at the end stands for any rest.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Where HTTP requests may go.
    #[serde(default)]
    pub http: Vec<HttpGrant>,
    /// Names of signals that may be waited for; a `*` at the end stands for any rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<String>,
    /// Secrets that the plugin may send, and where to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretGrant>,
}

impl Grants {
    /// Grants only these kinds of action.
    pub fn of_actions(actions: Vec<String>) -> Self {
        Self { actions, ..Self::default() }
    }

    /// Whether an action of `kind` may be run.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Grants;
    ///
    /// let grants = Grants::of_actions(vec!["demo.example.com/*".to_owned()]);
    /// assert!(grants.allows_action("demo.example.com/restart"));
    /// assert!(!grants.allows_action("demo.example.org/restart"));
    /// assert!(!Grants::default().allows_action("demo.example.com/restart"));
    /// ```
    pub fn allows_action(&self, kind: &str) -> bool {
        self.actions.iter().any(|pattern| covers(pattern, kind))
    }

    /// Whether a plugin may wait for a signal of this name.
    pub fn allows_signal(&self, name: &str) -> bool {
        self.signals.iter().any(|pattern| covers(pattern, name))
    }

    /// Whether a request with this method may go to this URL.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Grants, HttpGrant, HttpMethod};
    ///
    /// let hooks = HttpGrant::to("https://hooks.example.com").ok_or("no origin")?;
    /// let posts = HttpGrant { methods: vec![HttpMethod::Post], paths: vec!["/v1/*".to_owned()], ..hooks };
    /// let grants = Grants { http: vec![posts], ..Grants::default() };
    /// assert!(grants.allows_http(HttpMethod::Post, "https://hooks.example.com/v1/alerts?x=1"));
    /// assert!(!grants.allows_http(HttpMethod::Get, "https://hooks.example.com/v1/alerts"));
    /// assert!(!grants.allows_http(HttpMethod::Post, "https://hooks.example.com/v1/../v2"));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn allows_http(&self, method: HttpMethod, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return false };
        let Some(origin) = origin_of(&url) else { return false };
        self.http.iter().any(|grant| grant.allows(&origin, method, url.path()))
    }

    /// Whether a secret may be sent there.
    pub fn allows_secret(&self, name: &str, to: &Destination) -> bool {
        self.secrets.iter().any(|grant| grant.name == name && grant.allows(to))
    }

    /// Whether a plugin may use any secret.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Whether a plugin needs an engine that can perform more than calls to agents.
    pub fn is_beyond_agents(&self) -> bool {
        !self.http.is_empty() || !self.signals.is_empty()
    }
}

/// The origin that a request to this URL goes to, in the form in which grants have it.
pub(crate) fn origin_of_url(url: &str) -> Option<String> {
    origin_of(&Url::parse(url).ok()?)
}

/// The origin in the form in which grants have it. Other schemes than these may contain a URL, and so its origin.
fn origin_of(url: &Url) -> Option<String> {
    let origin = url.origin();
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    origin.is_tuple().then(|| names::parse_origin(&origin.ascii_serialization())).flatten()
}

/// An origin that HTTP requests may go to, and perhaps with which methods and to which paths.
///
/// It is written as the origin alone where neither is limited, as early versions write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "Form", into = "Form")]
#[schemars(with = "Form")]
pub struct HttpGrant {
    /// Scheme, host and port in their normal form, for example `https://hooks.example.com`.
    pub origin: String,
    /// The methods; all if there are none.
    pub methods: Vec<HttpMethod>,
    /// The paths; all if there are none. A `*` at the end stands for any rest.
    pub paths: Vec<String>,
}

impl HttpGrant {
    /// A grant of the whole origin. `None` if `text` is not an origin.
    pub fn to(text: &str) -> Option<Self> {
        let origin = names::parse_origin(text)?;
        Some(Self { origin, methods: Vec::new(), paths: Vec::new() })
    }

    /// Whether this grants all that the other one grants.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let includes_path = |path: &String| self.paths.iter().any(|pattern| covers(pattern, path));
        self.origin == other.origin
            && (self.methods.is_empty()
                || !other.methods.is_empty()
                    && other.methods.iter().all(|method| self.methods.contains(method)))
            && (self.paths.is_empty()
                || !other.paths.is_empty() && other.paths.iter().all(includes_path))
    }

    fn allows(&self, origin: &str, method: HttpMethod, path: &str) -> bool {
        let any_path = self.paths.is_empty();
        self.origin == origin
            && (self.methods.is_empty() || self.methods.contains(&method))
            && (any_path || !is_ambiguous(path) && self.paths.iter().any(|one| covers(one, path)))
    }
}

/// Whether a server may take the path for another one than we do, because it has a slash, a backslash or a dot in
/// escaped form.
fn is_ambiguous(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["%2f", "%5c", "%2e", "\\"].iter().any(|escaped| path.contains(escaped))
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for method in &self.methods {
            write!(f, "{method} ")?;
        }
        f.write_str(&self.origin)?;
        match self.paths.as_slice() {
            [] => Ok(()),
            [path] => f.write_str(path),
            paths => write!(f, "{{{}}}", paths.join(",")),
        }
    }
}

/// How a grant is written.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum Form {
    Origin(String),
    Limited {
        origin: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        methods: Vec<HttpMethod>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
    },
}

impl From<Form> for HttpGrant {
    fn from(form: Form) -> Self {
        match form {
            Form::Origin(origin) => Self { origin, methods: Vec::new(), paths: Vec::new() },
            Form::Limited { origin, methods, paths } => Self { origin, methods, paths },
        }
    }
}

impl From<HttpGrant> for Form {
    fn from(HttpGrant { origin, methods, paths }: HttpGrant) -> Self {
        if methods.is_empty() && paths.is_empty() {
            return Self::Origin(origin);
        }
        Self::Limited { origin, methods, paths }
    }
}

/// The methods that a step may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `HEAD`
    Head,
}

impl HttpMethod {
    /// All methods.
    pub const ALL: [Self; 6] =
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Head];

    /// The word in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `text` can be a path in a grant: a path as it is sent, perhaps with a `*` at its end.
pub(super) fn is_path_pattern(text: &str) -> bool {
    let path = text.strip_suffix('*').unwrap_or(text);
    let is_plain = !path.contains(['*', '?', '#']) && !is_ambiguous(path);
    let sent = Url::parse("http://a.example").and_then(|base| base.join(path));
    // What the URL parser would change is no path that a request can have.
    path.starts_with('/')
        && !path.starts_with("//")
        && is_plain
        && sent.is_ok_and(|url| url.path() == path)
}

/// What a path in a grant may be, as human-readable text.
pub(super) const PATH_EXPECTED: &str =
    "a path as it is sent, such as /v1/alerts, perhaps with a * at its end";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_rest() {
        let grants = Grants::of_actions(vec!["mongodb.replicante.io/*".to_owned()]);
        assert!(grants.allows_action("mongodb.replicante.io/stepdown"));
        assert!(!grants.allows_action("mongodb.replicante.iox/stepdown"));
        assert!(Grants::of_actions(vec!["*".to_owned()]).allows_action("anything"));
        assert!(!Grants::default().allows_action(""));
        let grants =
            Grants { signals: vec!["go".to_owned(), "a/*".to_owned()], ..Grants::default() };
        assert!(grants.allows_signal("go") && grants.allows_signal("a/b"));
        assert!(!grants.allows_signal("go2") && !grants.allows_signal("a"));
    }

    fn grants(methods: &[HttpMethod], paths: &[&str]) -> Grants {
        let origin = HttpGrant::to("https://Hooks.example.com:443/").unwrap();
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let limited = HttpGrant { methods: methods.to_vec(), paths, ..origin };
        Grants { http: vec![limited], ..Grants::default() }
    }

    #[test]
    fn a_request_goes_to_a_granted_origin_only() {
        let granted = grants(&[], &[]);
        for (url, allowed) in [
            ("https://hooks.example.com", true),
            ("https://HOOKS.example.com:443/any/path?and=query", true),
            ("https://hooks.example.com./", true),
            ("http://hooks.example.com", false),
            ("https://hooks.example.com:8443/", false),
            ("https://hooks.example.com.evil.example/", false),
            ("https://evil.example/https://hooks.example.com", false),
            ("https://hooks.example.com@evil.example/", false),
            ("https://xhooks.example.com/", false),
            ("https:hooks.example.com", true),
            ("hooks.example.com", false),
            ("blob:https://hooks.example.com/1", false),
        ] {
            assert_eq!(granted.allows_http(HttpMethod::Get, url), allowed, "{url}");
        }
    }

    #[test]
    fn a_path_is_within_the_grant_however_it_is_spelled() {
        let granted = grants(&[HttpMethod::Post], &["/v1/*", "/health"]);
        for (path, allowed) in [
            ("/v1/", true),
            ("/v1/a/b?c", true),
            ("/v1", false),
            ("/health", true),
            ("/health?deep", true),
            ("/health/x", false),
            ("/v1/../v2", false),
            ("/v1/%2e%2e/v2", false),
            ("/v1/..%2fv2", false),
            ("/v1/..%5Cv2", false),
            ("/v1/.%2e\\v2", false),
            ("/v2/../v1/a", true),
            ("/V1/a", false),
            ("/v1/a%20b", true),
        ] {
            let url = format!("https://hooks.example.com{path}");
            assert_eq!(granted.allows_http(HttpMethod::Post, &url), allowed, "{path}");
            assert!(!granted.allows_http(HttpMethod::Get, &url), "{path}");
        }
    }

    #[test]
    fn a_grant_is_written_as_short_as_it_is() {
        let whole = HttpGrant::to("https://a.example").unwrap();
        assert_eq!(serde_json::to_string(&whole).unwrap(), r#""https://a.example""#);
        let limited = HttpGrant { paths: vec!["/x".to_owned()], ..whole.clone() };
        let text = serde_json::to_string(&limited).unwrap();
        assert_eq!(text, r#"{"origin":"https://a.example","paths":["/x"]}"#);
        for grant in [whole, limited] {
            let text = serde_json::to_string(&grant).unwrap();
            assert_eq!(serde_json::from_str::<HttpGrant>(&text).unwrap(), grant);
        }
    }

    #[test]
    fn a_wider_grant_includes_a_narrower_one() {
        use HttpMethod::{Get, Post};
        let of = |methods: &[HttpMethod], paths: &[&str]| grants(methods, paths).http.remove(0);
        let all = [
            of(&[], &[]),
            of(&[Get, Post], &[]),
            of(&[Post, Get], &["/v1/*", "/health"]),
            of(&[Post], &["/v1/*"]),
            of(&[Post], &["/v1/a*"]),
            of(&[Post], &["/v1/a"]),
        ];
        for (index, wide) in all.iter().enumerate() {
            for (other, narrow) in all.iter().enumerate() {
                assert_eq!(wide.includes(narrow), index <= other, "{wide} {narrow}");
            }
        }
        assert!(!of(&[Get], &[]).includes(&of(&[], &["/"])), "any method is more than one");
        let elsewhere = HttpGrant::to("https://other.example").unwrap();
        assert!(!elsewhere.includes(&all[5]));
    }

    #[test]
    fn a_path_pattern_is_what_a_request_can_have() {
        for good in ["/", "/*", "/v1/*", "/a%20b", "/v1"] {
            assert!(is_path_pattern(good), "{good}");
        }
        for bad in
            ["", "v1", "*", "/a/../b", "/a/*/b", "/a?b", "/a#b", "/a b", "//a", "/%2e", "/a**"]
        {
            assert!(!is_path_pattern(bad), "{bad}");
        }
    }
}
