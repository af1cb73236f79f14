//! Certificates: what was proved of a strategy, and who says so. A certificate is the trusted comment of a signature over the
//! bytes of the plugin, so that whoever signs the plugin vouches for it, and it goes wherever the signature goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::{Facts, Refusal, list};
use super::model::{Policy, Proved, Rule};
use crate::ids::Digest;

/// What a certificate says of itself: its form. A form that is not known counts for nothing.
pub const PROOF_FORM: &str = "replibook-proof/1";

/// The longest certificate, in bytes. It is a comment of a signature, and all signatures of a plugin have 6 KiB.
pub const MAX_PROOF_BYTES: usize = 3 * 1024;

/// What every proof that counts has proved, by the words of the properties: a person may leave out the others.
pub const ALWAYS_PROVED: [&str; 6] = ["answers", "ends", "once", "named", "waits", "memo"];

/// What was proved of a strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyProof {
    /// [`PROOF_FORM`].
    pub form: String,
    /// Digest of the strategy's bytes.
    pub digest: Digest,
    /// The arguments with which it was proved, and which it must have.
    pub arguments: Value,
    /// The words of the properties that hold.
    pub properties: Vec<String>,
    /// How many random histories were tried, beyond all that was tried whole.
    pub seeds: u32,
    /// How far was looked.
    pub bounds: BTreeMap<String, u64>,
    /// The version of Replibook that did it.
    pub version: String,
}

/// What was proved of a strategy, in the words of somebody who has signed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vouched {
    /// The name that the policy gives the key.
    pub by: String,
    /// What was proved.
    pub proof: StrategyProof,
}

// The numbers in it come from JSON, so none of them is unequal to itself.
impl Eq for Vouched {}

impl StrategyProof {
    /// Reads the trusted comment of a signature. `None` if it is no certificate: most comments are not.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::policy::{PROOF_FORM, StrategyProof};
    /// # use replibook_core::ids::Digest;
    ///
    /// assert_eq!(StrategyProof::read("timestamp:1767225600"), None);
    /// # let proof = StrategyProof {
    /// #     form: PROOF_FORM.to_owned(), digest: Digest::of(b""), arguments: serde_json::json!({}), properties: vec![],
    /// #     seeds: 7, bounds: [].into(), version: "0.1.0".to_owned(),
    /// # };
    /// let comment = proof.to_line().ok_or("too long")?;
    /// assert_eq!(StrategyProof::read(&comment), Some(proof));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn read(comment: &str) -> Option<Self> {
        let comment = comment.trim();
        if comment.len() > MAX_PROOF_BYTES || !comment.starts_with('{') {
            return None;
        }
        let proof: Self = serde_json::from_str(comment).ok()?;
        (proof.form == PROOF_FORM).then_some(proof)
    }

    /// The certificate in one line of ASCII, as a trusted comment has it. `None` if it is longer than [`MAX_PROOF_BYTES`].
    pub fn to_line(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        let mut line = String::with_capacity(text.len());
        for unit in text.chars() {
            if unit.is_ascii() && !unit.is_ascii_control() {
                line.push(unit);
                continue;
            }
            // Such characters are only in texts, where JSON may write them so.
            let mut units = [0; 2];
            for unit in unit.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
        (line.len() <= MAX_PROOF_BYTES).then_some(line)
    }
}

impl Policy {
    /// Whether a rule that asks for a proof is met. Somebody has to vouch for the proof: one of `signed_by`, or anybody whose
    /// key the policy has if the rule names nobody.
    pub(super) fn check_proof(
        &self,
        (index, rule): (usize, &Rule),
        proved: &Proved,
        facts: &Facts,
    ) -> Result<(), Box<Refusal>> {
        if accepted(rule, proved, facts).next().is_some() {
            return Ok(());
        }
        let of_it: Vec<_> =
            facts.proofs.iter().filter(|it| it.proof.digest == facts.digest).collect();
        let found = match (of_it.first(), facts.proofs.first()) {
            (Some(_), _) => {
                let each = of_it.iter().map(|Vouched { by, proof }| {
                    let (seeds, of) = (proof.seeds, proof.properties.join(", "));
                    format!("a proof of {of} over {seeds} seeds, signed by {by}")
                });
                list(&each.collect::<Vec<_>>())
            }
            (None, Some(other)) => format!("a proof of other bytes, {}", other.proof.digest),
            (None, None) => "no proof that a key of the policy has signed".to_owned(),
        };
        let by = match rule.signed_by.is_empty() {
            true => String::new(),
            false => format!(", signed by one of {}", list(&rule.signed_by)),
        };
        let of = match proved.properties.is_empty() {
            true => String::new(),
            false => format!(" of {}", list(&proved.properties)),
        };
        let expected = format!("a proof{of} over {} seeds{by}", proved.seeds);
        let message = format!("{} is not met", self.named(index, rule));
        Err(Box::new(Refusal { message, found, expected, ask: None }))
    }

    /// Whether the strategy was proved with the arguments that a stage gives it, if the policy asks for a proof. With others
    /// it may do anything.
    ///
    /// # Errors
    /// [`Refusal`] if it was proved with other arguments only, or if they are known only in a run.
    pub fn judge_arguments(&self, facts: &Facts, arguments: &Value) -> Result<(), Box<Refusal>> {
        // Whatever else a rule asks for is judged by itself.
        let Ok(Some((index, rule))) = self.rule_of(facts) else { return Ok(()) };
        let Some(proved) = &rule.proved else { return Ok(()) };
        let mut proofs = accepted(rule, proved, facts);
        if proofs.any(|proof| proof.arguments == *arguments) {
            return Ok(());
        }
        let known: Vec<_> =
            accepted(rule, proved, facts).map(|proof| proof.arguments.to_string()).collect();
        Err(Box::new(Refusal {
            message: format!("{} asks for a proof with these arguments", self.named(index, rule)),
            found: list(&[arguments.to_string()]),
            expected: list(&known),
            ask: None,
        }))
    }
}

/// The proofs that count for a rule.
fn accepted<'a>(
    rule: &'a Rule,
    proved: &'a Proved,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a StrategyProof> {
    let counts = move |Vouched { by, proof }: &&Vouched| {
        let may_vouch = rule.signed_by.is_empty() || rule.signed_by.contains(by);
        let wanted = ALWAYS_PROVED.into_iter().chain(proved.properties.iter().map(String::as_str));
        let has = |property: &str| proof.properties.iter().any(|proved| proved == property);
        let is_enough = proof.seeds >= proved.seeds && wanted.into_iter().all(has);
        may_vouch && proof.digest == facts.digest && is_enough
    };
    facts.proofs.iter().filter(counts).map(|vouched| &vouched.proof)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::playbook::policy::samples::policy;

    fn proof(seeds: u32) -> StrategyProof {
        StrategyProof {
            form: PROOF_FORM.to_owned(),
            digest: Digest::of(b"plugin"),
            arguments: json!({"batch": 2, "name": "Köln\n"}),
            properties: ALWAYS_PROVED.map(str::to_owned).to_vec(),
            seeds,
            bounds: [("agents".to_owned(), 4)].into(),
            version: "0.1.0".to_owned(),
        }
    }

    fn facts(proofs: &[(&str, StrategyProof)]) -> Facts {
        let vouched = |(by, proof): &(&str, StrategyProof)| Vouched {
            by: (*by).to_owned(),
            proof: proof.clone(),
        };
        Facts {
            source: "file:".to_owned(),
            digest: Digest::of(b"plugin"),
            signers: proofs.iter().map(|(by, _)| (*by).to_owned()).collect(),
            proofs: proofs.iter().map(vouched).collect(),
        }
    }

    #[test]
    fn a_certificate_is_one_line_of_ascii_and_comes_back() {
        let line = proof(5).to_line().unwrap();
        assert!(line.is_ascii() && !line.contains('\n'), "{line}");
        assert_eq!(StrategyProof::read(&line), Some(proof(5)));
        assert_eq!(StrategyProof::read(&format!(" {line} ")), Some(proof(5)));
        let other = StrategyProof { form: "replibook-proof/2".to_owned(), ..proof(5) };
        assert_eq!(StrategyProof::read(&other.to_line().unwrap()), None, "a form of the future");
        for bad in ["", "timestamp:1", "{}", "{\"form\":\"replibook-proof/1\"}"] {
            assert_eq!(StrategyProof::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_certificate_that_is_too_long_is_none() {
        let arguments = json!({ "order": "x".repeat(MAX_PROOF_BYTES) });
        assert_eq!(StrategyProof { arguments, ..proof(5) }.to_line(), None);
        let long = format!("{}{}", proof(5).to_line().unwrap(), " ".repeat(MAX_PROOF_BYTES));
        assert!(StrategyProof::read(&format!("{{{long}")).is_none());
    }

    #[test]
    fn a_proof_counts_if_somebody_vouches_for_it_and_it_is_of_these_bytes() {
        let house = policy("{ match: 'file:*', signed_by: [ops], proved: { seeds: 5 } }");
        let refused = |facts: &Facts| house.admit(facts).unwrap_err().to_string();
        assert_eq!(house.admit(&facts(&[("ops", proof(5))])), Ok(()));
        let few = refused(&facts(&[("ops", proof(4))]));
        assert!(few.contains("memo over 4 seeds, signed by ops"), "{few}");
        assert!(few.ends_with("expected a proof over 5 seeds, signed by one of ops"), "{few}");
        let other = StrategyProof { digest: Digest::of(b"other"), ..proof(9) };
        let other = refused(&facts(&[("ops", other)]));
        assert!(other.contains("found a proof of other bytes"), "{other}");
        // Whoever else has signed it, too.
        let mut both = facts(&[("dev", proof(9))]);
        both.signers.insert("ops".to_owned());
        assert!(refused(&both).contains("signed by dev"));
        let less = StrategyProof { properties: vec!["ends".to_owned()], ..proof(9) };
        assert!(refused(&facts(&[("ops", less)])).contains("found a proof of ends over 9 seeds"));
        let more = "{ match: 'file:*', proved: { seeds: 5, properties: [one-group zone] } }";
        let refusal = policy(more).admit(&facts(&[("ops", proof(9))])).unwrap_err();
        assert_eq!(refusal.expected, "a proof of one-group zone over 5 seeds");
        let mut zones = proof(9);
        zones.properties.push("one-group zone".to_owned());
        assert_eq!(policy(more).admit(&facts(&[("ops", zones)])), Ok(()));
        let anybody = policy("{ match: 'file:*', proved: { seeds: 5 } }");
        assert_eq!(anybody.admit(&facts(&[("dev", proof(9))])), Ok(()));
    }

    #[test]
    fn a_proof_is_good_for_its_arguments_only() {
        let house = policy("{ match: 'file:*', proved: { seeds: 5 } }");
        let known = facts(&[("ops", proof(5))]);
        assert_eq!(house.judge_arguments(&known, &json!({"name": "Köln\n", "batch": 2})), Ok(()));
        for other in [json!({}), json!({"batch": 3, "name": "Köln\n"}), json!("${{ params.all }}")]
        {
            let refused = house.judge_arguments(&known, &other).unwrap_err();
            assert!(refused.message.contains("asks for a proof with these arguments"), "{refused}");
        }
        let lax = policy("{ match: 'file:*' }");
        assert_eq!(lax.judge_arguments(&known, &json!({})), Ok(()));
    }
}
