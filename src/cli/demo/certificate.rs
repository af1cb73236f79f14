//! Certificates for this machine: on the curve P-256, which all clients know, signed by ring.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use signature::Keypair;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{BitString, UtcTime};
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::oid::db::rfc5912::{ECDSA_WITH_SHA_256, ID_EC_PUBLIC_KEY, SECP_256_R_1};
use x509_cert::der::{Any, Document, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};
use x509_cert::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::clock::{Clock as _, SystemClock};

/// How long the certificates are good: servers warn of those that end within fourteen days.
const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How much earlier than now they are good from, for clocks that are a little off.
const MADE_BEFORE: Duration = Duration::from_secs(3_600);

/// Characters of a line in PEM.
const PEM_LINE: usize = 64;

/// What a certificate is good for. An agent must not be able to command the others with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Authority,
    Server,
    Client,
}

pub(super) struct Key(EcdsaKeyPair);

impl Key {
    /// Makes a key. Returns it with its document, PKCS #8.
    pub(super) fn new() -> anyhow::Result<(Self, Vec<u8>)> {
        let (random, curve) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random);
        let document = document.map_err(|_| anyhow::anyhow!("failed to make a key"))?;
        let key = EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random);
        let key = key.map_err(|why| anyhow::anyhow!("failed to read the key just made: {why}"))?;
        Ok((Self(key), document.as_ref().to_vec()))
    }

    fn sign(&self, bytes: &[u8]) -> anyhow::Result<BitString> {
        let signed = self.0.sign(&SystemRandom::new(), bytes);
        let signed = signed.map_err(|_| anyhow::anyhow!("failed to sign a certificate"))?;
        Ok(BitString::from_bytes(signed.as_ref())?)
    }
}

impl Keypair for Key {
    type VerifyingKey = Point;

    fn verifying_key(&self) -> Point {
        Point(self.0.public_key().as_ref().to_vec())
    }
}

impl DynSignatureAlgorithmIdentifier for Key {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifier> {
        Ok(AlgorithmIdentifier { oid: ECDSA_WITH_SHA_256, parameters: None })
    }
}

/// The public half of a key: a point of the curve.
#[derive(Clone)]
pub(super) struct Point(Vec<u8>);

impl EncodePublicKey for Point {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        let curve = Some(Any::encode_from(&SECP_256_R_1)?);
        Document::try_from(SubjectPublicKeyInfo {
            algorithm: AlgorithmIdentifier { oid: ID_EC_PUBLIC_KEY, parameters: curve },
            subject_public_key: BitString::from_bytes(&self.0)?,
        })
    }
}

/// Whose certificate is made, and by whom.
struct Profile {
    issuer: Name,
    subject: Name,
    purpose: Purpose,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let of = tbs.subject();
        let (usage, extended) = match self.purpose {
            Purpose::Authority => (KeyUsages::KeyCertSign, None),
            Purpose::Server => (KeyUsages::DigitalSignature, Some(ID_KP_SERVER_AUTH)),
            Purpose::Client => (KeyUsages::DigitalSignature, Some(ID_KP_CLIENT_AUTH)),
        };
        let by = SubjectKeyIdentifier::try_from(issuer)?;
        let by = AuthorityKeyIdentifier { key_identifier: Some(by.0), ..Default::default() };
        let is_authority = self.purpose == Purpose::Authority;
        let constraints = BasicConstraints { ca: is_authority, path_len_constraint: None };
        let mut all = vec![
            constraints.to_extension(of, &[])?,
            KeyUsage(usage.into()).to_extension(of, &[])?,
            SubjectKeyIdentifier::try_from(key)?.to_extension(of, &[])?,
            by.to_extension(of, &[])?,
        ];
        if let Some(extended) = extended {
            let names = SubjectAltName(vec![GeneralName::from(IpAddr::V4(Ipv4Addr::LOCALHOST))]);
            all.push(ExtendedKeyUsage(vec![extended]).to_extension(of, &[])?);
            all.push(names.to_extension(of, &[])?);
        }
        Ok(all)
    }
}

/// Makes a certificate, in PEM.
pub(super) fn issue(
    by: &Key,
    issuer: &Name,
    key: &Point,
    subject: &Name,
    purpose: Purpose,
) -> anyhow::Result<String> {
    let profile = Profile { issuer: issuer.clone(), subject: subject.clone(), purpose };
    let number: [u8; 16] = rand::random();
    let now = u64::try_from(SystemClock.now().as_millis()).context("found a time before 1970")?;
    let now = Duration::from_millis(now);
    let at = |time: Duration| UtcTime::from_unix_duration(time).map(Time::UtcTime);
    let validity =
        Validity::new(at(now.saturating_sub(MADE_BEFORE))?, at(now.saturating_add(GOOD_FOR))?);
    let key = SubjectPublicKeyInfo::from_key(key).context("failed to write a public key")?;
    let made = CertificateBuilder::new(profile, SerialNumber::new(&number)?, validity, key);
    let mut made = made.context("failed to make a certificate")?;
    let signed = by.sign(&made.finalize(by).context("failed to write a certificate")?)?;
    let made = made.assemble(signed, by).context("failed to make a certificate")?;
    Ok(pem("CERTIFICATE", &made.to_der()?))
}

/// The name of whom a certificate is for.
pub(super) fn named(name: &str) -> anyhow::Result<Name> {
    Name::from_str(&format!("CN={name}")).context("failed to make a name")
}

pub(super) fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    // Of characters that are one byte each.
    let lines = text.as_bytes().chunks(PEM_LINE).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
