//! When certificates expire, and what a server does not start with.

use std::fs;

use super::*;
use crate::credentials::{Credentials, KeptCredentials};

use crate::certificates::{Authority, Files, put};

#[test]
fn the_first_certificate_of_each_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let (early, late) =
        (ours.issue_until(&["a"], (2031, 5, 6)), ours.issue_until(&["a"], (2032, 1, 1)));
    let (used, ca, identity) = ("agent", Some(&ours), Some(&late));
    let at = put(folder.path(), "eu", &Files { used, ca, identity, ..Files::default() });
    let opened = || KeptCredentials::open(Credentials::open(folder.path()).unwrap());
    let expires = || -> Vec<(&str, String)> {
        let expiries = opened().unwrap().expiries().into_iter();
        expiries.map(|expiry| (expiry.file, expiry.at.to_string())).collect()
    };
    assert_eq!(expires()[0], ("cert.pem", "2032-01-01T00:00:00.000Z".to_owned()));
    assert_eq!(expires()[1].0, "ca.pem");
    fs::write(at.join("cert.pem"), late.cert.clone() + &early.cert).unwrap();
    assert_eq!(expires()[0], ("cert.pem", "2031-05-06T00:00:00.000Z".to_owned()));
    // A server does not start with what can't be used.
    fs::write(at.join("key.pem"), &early.key).unwrap();
    let error = opened().unwrap_err().to_string();
    assert!(error.contains("cert.pem and key.pem"), "{error}");
    fs::write(at.join("ca.pem"), "no certificate").unwrap();
    let error = opened().unwrap_err().to_string();
    assert!(error.contains("ca.pem: expected certificates in PEM, found none"), "{error}");
}

#[test]
fn it_is_told_of_two_weeks_before() {
    let at = Timestamp::from_millis(0).plus(TOLD_BEFORE).plus(Millis(1_000));
    let expiry = Expiry { name: "eu".to_owned(), file: "cert.pem", at };
    let moment = |millis| Timestamp::from_millis(millis);
    assert!(!expiry.is_near(moment(0)) && expiry.is_near(moment(1_000)));
    assert!(!expiry.is_over(moment(1_000)) && expiry.is_over(at));
}
