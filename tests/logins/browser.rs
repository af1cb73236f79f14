//! A browser without a screen: it keeps cookies, follows redirects, and sends forms. Of the rules for cookies it has those
//! that matter here: a strict one does not go along on a way that began at another site.

use axum::http::HeaderMap;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Method, Url};

/// Redirects that follow each other.
const MAX_HOPS: usize = 20;

#[derive(Default)]
pub(crate) struct Browser {
    http: Option<reqwest::Client>,
    cookies: Vec<Cookie>,
}

#[derive(Clone, Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
    strict: bool,
}

/// A page.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    /// Goes to an address as if a person had typed it.
    pub(crate) async fn open(&mut self, url: &str) -> Page {
        self.go(Method::GET, Url::parse(url).unwrap(), Vec::new(), None).await
    }

    /// Goes on by itself from a page that says so.
    pub(crate) async fn refresh(&mut self, page: &Page) -> Page {
        let to = page.body.split(";url=").nth(1).unwrap().split('"').next().unwrap();
        let to = page.url.join(&unescaped(to)).unwrap();
        self.go(Method::GET, to, Vec::new(), page.url.host_str()).await
    }

    /// Fills the form of a page in, and sends it.
    pub(crate) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let (to, mut form) = page.form();
        for (name, value) in fields {
            form.retain(|(other, _)| other != name);
            form.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.go(Method::POST, to, form, page.url.host_str()).await
    }

    /// Sends a form from a page of another site, as such a page can make a browser do it.
    pub(crate) async fn forged(&mut self, url: &str, from: &str) -> Page {
        self.go(Method::POST, Url::parse(url).unwrap(), Vec::new(), Some(from)).await
    }

    /// What a browser sends as a cookie to a page of its own.
    pub(crate) fn cookies(&self, url: &str) -> String {
        self.sent(&Url::parse(url).unwrap(), false)
    }

    async fn go(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut form: Vec<(String, String)>,
        from: Option<&str>,
    ) -> Page {
        let mut from = from.map(str::to_owned);
        let mut crossed = false;
        for _ in 0..MAX_HOPS {
            crossed |= from.as_deref().is_some_and(|from| Some(from) != url.host_str());
            let mut request = self.http().request(method.clone(), url.clone());
            request = request.header(COOKIE, self.sent(&url, crossed));
            if method == Method::POST {
                let origin = from.as_ref().map_or_else(
                    || "null".to_owned(),
                    |host| match crossed {
                        true => format!("http://{host}"),
                        false => url.origin().ascii_serialization(),
                    },
                );
                request = request.header(ORIGIN, origin);
                let mut body = url::form_urlencoded::Serializer::new(String::new());
                body.extend_pairs(&form);
                request = request
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body.finish());
            }
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = answer.text().await.unwrap();
            self.keep(&url, &headers);
            let Some(to) = headers.get(LOCATION).filter(|_| (300..400).contains(&status)) else {
                return Page { url, status, headers, body };
            };
            let to = url.join(to.to_str().unwrap()).unwrap();
            from = url.host_str().map(str::to_owned);
            (method, form) = (Method::GET, Vec::new());
            url = to;
        }
        panic!("redirects without an end, at last to {url}");
    }

    fn http(&mut self) -> &reqwest::Client {
        self.http.get_or_insert_with(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let none = reqwest::redirect::Policy::none();
            reqwest::Client::builder().redirect(none).no_proxy().build().unwrap()
        })
    }

    fn sent(&self, url: &Url, crossed: bool) -> String {
        let goes = |cookie: &&Cookie| {
            Some(cookie.host.as_str()) == url.host_str()
                && url.path().starts_with(&cookie.path)
                && !(crossed && cookie.strict)
        };
        let all = self.cookies.iter().filter(goes);
        all.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, url: &Url, headers: &HeaderMap) {
        for text in headers.get_all(SET_COOKIE) {
            let mut parts = text.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let attributes: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let of = |name: &str| {
                let found = attributes.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
                found.map(|(_, value)| *value)
            };
            let cookie = Cookie {
                host: url.host_str().unwrap().to_owned(),
                path: of("path").unwrap_or("/").to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
                strict: of("samesite").is_some_and(|site| site.eq_ignore_ascii_case("strict")),
            };
            let same = |other: &Cookie| {
                (&other.host, &other.path, &other.name)
                    == (&cookie.host, &cookie.path, &cookie.name)
            };
            self.cookies.retain(|other| !same(other));
            if !value.is_empty() && of("max-age") != Some("0") {
                self.cookies.push(cookie);
            }
        }
    }
}

impl Page {
    /// Where the first form of the page goes, and what is in it.
    fn form(&self) -> (Url, Vec<(String, String)>) {
        let tags = self.body.split('<').filter_map(|rest| rest.split('>').next());
        let mut tags = tags.skip_while(|tag| !tag.starts_with("form "));
        let form = tags.next().unwrap_or_else(|| panic!("a page without a form: {}", self.body));
        let to = self.url.join(&attribute(form, "action").unwrap_or_default()).unwrap();
        let inputs = tags.take_while(|tag| !tag.starts_with("/form"));
        let inputs = inputs.filter(|tag| tag.starts_with("input "));
        let fields = inputs.filter_map(|tag| {
            Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()))
        });
        (to, fields.collect())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
    Some(unescaped(rest.split('"').next()?))
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
