//! What policies let in and what they refuse, case by case; and for any policy, that tightening it never allows more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::judge::{Facts, Refusal};
use super::model::{May, Policy, Proved, Rule};
use super::samples::{info, policy};
use super::{Match, OriginPattern, asks, check_document, check_playbook};
use crate::ids::Digest;
use crate::playbook::{
    Grants, HttpGrant, HttpMethod, PluginKind, Problem, SecretGrant, parse_playbook, resolve,
};

fn facts(source: &str, signers: &[&str]) -> Facts {
    let signers = signers.iter().map(|&name| name.to_owned()).collect();
    let (source, digest) = (source.to_owned(), Digest::of(b"plugin"));
    Facts { source, digest, signers, proofs: Vec::new() }
}

fn grants(actions: &[&str], http: &[&str]) -> Grants {
    let http = http.iter().map(|text| HttpGrant::to(text).unwrap()).collect();
    Grants { http, ..Grants::of_actions(texts(actions)) }
}

fn signals(names: &[&str]) -> Grants {
    Grants { signals: texts(names), ..Grants::default() }
}

#[test]
fn what_a_rule_gives_is_allowed() {
    for (rules, source, signers, given) in [
        ("{ match: 'file:*' }", "file:", &[][..], grants(&[], &[])),
        ("{ match: 'file:*', signed_by: [ops] }", "file:", &["ops"], grants(&[], &[])),
        ("{ match: 'file:*', signed_by: [ops] }", "file:", &["dev", "ops"], grants(&[], &[])),
        ("{ match: 'file:*', playbooks: ['lab/*'] }", "file:", &[], grants(&[], &[])),
        (
            "{ match: 'file:*', may: { actions: ['a/*'] } }",
            "file:",
            &[],
            grants(&["a/x", "a/*"], &[]),
        ),
        (
            "{ match: 'file:*', may: { http: ['*'] } }",
            "file:",
            &[],
            grants(&[], &["http://10.0.0.1"]),
        ),
        (
            "{ match: 'oci://r.example/*' }, { match: 'file:*', may: { http: ['https://*.example'] } }",
            "file:",
            &[],
            grants(&[], &["https://a.example"]),
        ),
        (
            "{ match: 'file:*', may: { signals: [go, 'a/*'] } }",
            "file:",
            &[],
            signals(&["go", "a/b*"]),
        ),
        ("", "builtin:action", &[], grants(&["anything/*"], &["https://a.example"])),
        ("", "builtin:wait-signal", &[], signals(&["go"])),
        ("{ match: 'builtin:http' }", "builtin:action", &[], grants(&["a/x"], &[])),
    ] {
        let judged = policy(rules).judge(&facts(source, signers), "lab/drill", &given);
        let allowed = judged.unwrap_or_else(|refused| panic!("{rules}: {refused:?}"));
        assert_eq!(allowed.grants, given, "{rules}");
    }
    let networks =
        policy("{ match: 'builtin:*', may: { actions: ['*'], networks: [127.0.0.0/8] } }");
    let allowed = networks.judge(&facts("builtin:http", &[]), "a", &grants(&["x"], &[])).unwrap();
    assert_eq!(allowed.networks[0].to_string(), "127.0.0.0/8");
    assert_eq!(networks.networks(&facts("builtin:http", &[]), "a"), allowed.networks);
    let none = policy("").judge(&facts("builtin:http", &[]), "a", &grants(&[], &[])).unwrap();
    assert_eq!(none.networks, []);
}

#[test]
fn everything_else_is_refused_with_the_rule_and_what_was_expected() {
    for (rules, source, signers, given, says) in [
        (
            "",
            "file:",
            &[][..],
            grants(&[], &[]),
            "no rule of policy \"house\" is about this plugin; found a plugin that \
          came from file:",
        ),
        ("{ match: 'builtin:*' }", "file:", &[], grants(&[], &[]), "expected builtin:*"),
        ("{ match: 'file:*' }", "store:x@1.0.0", &[], grants(&[], &[]), "no rule"),
        ("{ match: 'file:*' }", "", &[], grants(&[], &[]), "no rule"),
        ("{ match: 'file:*' }", "oci://r.example/a:1", &[], grants(&[], &[]), "no rule"),
        (
            "{ match: 'oci://r.example/*' }",
            "oci://r.example.evil.org/a:1",
            &[],
            grants(&[], &[]),
            "no rule",
        ),
        (
            "{ match: 'file:*', signed_by: [ops] }",
            "file:",
            &[],
            grants(&[], &[]),
            "rule 1 (file:*) of policy \"house\" is not met; found no signature of a key that the policy knows; expected \
          one of ops",
        ),
        (
            "{ match: 'file:*', signed_by: [ops] }",
            "file:",
            &["dev"],
            grants(&[], &[]),
            "found a signature of dev",
        ),
        (
            "{ match: 'file:*', proved: { seeds: 5 } }",
            "file:",
            &["ops"],
            grants(&[], &[]),
            "found no proof that a key of the policy has signed; expected a proof over 5 seeds",
        ),
        (
            "{ match: 'file:*', playbooks: ['ops/*'] }",
            "file:",
            &[],
            grants(&[], &[]),
            "does not let this playbook use the plugin; found playbook \"lab/drill\"; expected ops/*",
        ),
        ("{ match: 'file:*', playbooks: [lab] }", "file:", &[], grants(&[], &[]), "expected lab"),
        (
            "{ match: 'file:*' }",
            "file:",
            &[],
            grants(&["a/x"], &[]),
            "does not give this grant; found actions a/x; expected nothing of that kind",
        ),
        (
            "{ match: 'file:*', may: { actions: ['a/x'] } }",
            "file:",
            &[],
            grants(&["a/*"], &[]),
            "found actions a/*",
        ),
        (
            "{ match: 'file:*', may: { actions: ['a/*'] } }",
            "file:",
            &[],
            grants(&["A/x"], &[]),
            "expected a/*",
        ),
        (
            "{ match: 'file:*', may: { http: ['https://*.example.com'] } }",
            "file:",
            &[],
            grants(&[], &["https://good.example.com.evil.org"]),
            "expected https://*.example.com",
        ),
        (
            "{ match: 'file:*', may: { actions: ['*'] } }",
            "file:",
            &[],
            grants(&[], &["https://a.example"]),
            "found http https://a.example",
        ),
        (
            "{ match: 'file:*', may: { signals: ['a/*'] } }",
            "file:",
            &[],
            signals(&["go"]),
            "found signals go; expected a/*",
        ),
        // The first rule that matches counts, however much a later one gives.
        (
            "{ match: 'oci://r.example/a/*' }, { match: 'oci://*:*/*', may: { actions: ['*'] } }",
            "oci://r.example/a/b:1",
            &[],
            grants(&["a/x"], &[]),
            "rule 1 (oci://r.example/a/*)",
        ),
        (
            "{ match: 'builtin:*', may: { actions: ['a/*'] } }",
            "builtin:action",
            &[],
            grants(&["b/x"], &[]),
            "rule 1 (builtin:*)",
        ),
    ] {
        let judged = policy(rules).judge(&facts(source, signers), "lab/drill", &given);
        let refused = judged.expect_err(rules);
        assert!(refused[0].to_string().contains(says), "{rules}: {says:?} in {}", refused[0]);
    }
    let all = policy("{ match: 'file:*', playbooks: [x] }");
    let refused =
        all.judge(&facts("file:", &[]), "y", &grants(&["a", "b"], &["https://c"])).unwrap_err();
    assert_eq!(refused.len(), 4, "all are said at once: {refused:?}");
    let limited = HttpGrant {
        paths: vec!["/v1/*".to_owned()],
        methods: vec![HttpMethod::Post],
        ..HttpGrant::to("https://a.example").unwrap()
    };
    let limited = Grants { http: vec![limited], ..Grants::default() };
    let said = all.judge(&facts("file:", &[]), "x", &limited).unwrap_err()[0].to_string();
    assert!(said.contains("found http POST https://a.example/v1/*"), "{said}");
    let asked: Vec<Option<usize>> =
        refused.iter().map(|one| one.ask.as_ref().map(|ask| ask.index)).collect();
    assert_eq!(asked, [None, Some(0), Some(1), Some(0)]);
}

/// A grant of the secret `pager` to these destinations.
fn pager(to: &[&str]) -> Grants {
    let secret = SecretGrant { name: "pager".to_owned(), to: texts(to) };
    Grants { secrets: vec![secret], ..Grants::default() }
}

#[test]
fn a_secret_goes_only_where_the_policy_lets_requests_or_actions_of_the_plugin_go() {
    let both = "secrets: ['pag*'], http: ['https://*.example.com'], actions: ['demo/*']";
    let (file, builtin) = (facts("file:", &[]), facts("builtin:http", &[]));
    let rule = |of: &str, may: &str| policy(&format!("{{ match: '{of}', may: {{ {may} }} }}"));
    for (house, facts, to, allowed) in [
        (
            rule("file:*", both),
            &file,
            &["https://a.example.com", "demo/rotate", "demo/r*"][..],
            true,
        ),
        (rule("file:*", both), &file, &["https://a.example.com", "https://a.example.org"], false),
        (rule("file:*", both), &file, &["http://a.example.com"], false),
        (rule("file:*", both), &file, &["other/rotate"], false),
        (rule("file:*", "secrets: [pager]"), &file, &["https://a.example.com"], false),
        (rule("file:*", "http: ['*'], actions: ['*']"), &file, &["https://a.example.com"], false),
        (rule("file:*", "secrets: [page], http: ['*']"), &file, &["https://a.example.com"], false),
        (rule("builtin:*", both), &builtin, &["https://a.example.com"], true),
        // What came with the program needs no rule, but a secret does.
        (rule("file:*", both), &builtin, &["https://a.example.com"], false),
    ] {
        let judged = house.judge(facts, "p", &pager(to));
        assert_eq!(judged.is_ok(), allowed, "{to:?}: {judged:?}");
        let refused = judged.err().into_iter().flatten().next().map(|one| one.to_string());
        let says = format!("found secrets pager to {}", to.join(", "));
        assert!(refused.is_none_or(|refused| refused.contains(&says)), "{says}");
    }
    let house = rule("file:*", both);
    let refused = house.judge(&file, "p", &pager(&["https://evil.example"])).unwrap_err();
    assert_eq!(refused[0].expected, "pag* to https://*.example.com, demo/*");
}

#[test]
fn networks_are_those_of_a_rule_that_is_met() {
    let signed =
        "{ match: 'file:*', signed_by: [ops], playbooks: [p], may: { networks: [10.1.0.0/16] } }";
    let house = policy(signed);
    assert!(house.has_networks() && !policy("{ match: 'file:*' }").has_networks());
    let networks = |facts: Facts, playbook: &str| house.networks(&facts, playbook).len();
    assert_eq!(networks(facts("file:", &["ops"]), "p"), 1);
    assert_eq!(networks(facts("file:", &["ops"]), "q"), 0);
    assert_eq!(networks(facts("file:", &[]), "p"), 0);
    assert_eq!(networks(facts("builtin:http", &[]), "p"), 0);
}

#[test]
fn a_refusal_does_not_repeat_a_whole_policy() {
    let rule = |n: u32| format!("{{ match: 'oci://r{n}.example/*' }}");
    let many: Vec<String> = (0..1_000).map(rule).collect();
    let refused = policy(&many.join(", ")).admit(&facts("file:", &[])).unwrap_err();
    assert!(refused.to_string().len() < 800, "{refused}");
    assert!(refused.expected.starts_with("oci://r0.example/*, oci://r1.example/*"), "{refused}");
}

#[test]
fn a_plugin_is_admitted_before_anybody_knows_its_playbook() {
    let house = policy("{ match: 'file:*', signed_by: [ops], playbooks: [lab] }");
    assert_eq!(house.admit(&facts("file:", &["ops"])), Ok(()));
    assert!(house.admit(&facts("file:", &[])).is_err());
    let digest = Digest::of(b"plugin");
    let pinned =
        policy(&format!("{{ match: '{digest}' }}, {{ match: 'file:*', proved: {{ seeds: 1 }} }}"));
    assert_eq!(pinned.admit(&facts("file:", &[])), Ok(()));
}

const DOCUMENT: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: ops/drain, version: 1.0.0 }
spec:
  plugins:
    drain: { source: 'store:drain@1.0.0', grants: { actions: [a/x, b/y] } }
  stages:
    - name: all
      strategy: { use: rolling }
      steps:
        - { name: drain, use: drain }
        - { name: restart, action: c/z }
";

#[test]
fn what_is_refused_in_a_document_has_its_place() {
    let document = parse_playbook(DOCUMENT.as_bytes()).unwrap();
    let places = |rules: &str, source: &str| {
        let facts = [("drain".to_owned(), facts(source, &[]))].into();
        let problems = check_document(&policy(rules), &document, &facts);
        let place = |problem: Problem| (problem.line.unwrap(), problem.path);
        problems.into_iter().map(place).collect::<Vec<_>>()
    };
    let source = "/spec/plugins/drain/source".to_owned();
    assert_eq!(
        places("", "file:"),
        [(7, source.clone())],
        "a stored plugin counts as what it came from"
    );
    assert_eq!(
        places("{ match: 'oci://r.example/*', may: { actions: ['*'] } }", "oci://r.example/d:1"),
        []
    );
    assert_eq!(places("{ match: 'oci://r.example/*' }", "file:"), [(7, source)]);
    let grants = |index: usize| (7, format!("/spec/plugins/drain/grants/actions/{index}"));
    assert_eq!(places("{ match: 'file:*', may: { actions: [a/x] } }", "file:"), [grants(1)]);
    assert_eq!(places("{ match: 'file:*' }", "file:"), [grants(0), grants(1)]);
    let builtins = "{ match: 'file:*', may: { actions: ['*'] } }, { match: 'builtin:*', may: { actions: [d/*] } }";
    assert_eq!(places(builtins, "file:"), [(13, "/spec/stages/0/steps/1/action".to_owned())]);
    // Of a plugin of which nothing is known, something else is wrong.
    assert_eq!(check_document(&policy(""), &document, &BTreeMap::new()), []);
}

#[test]
fn a_playbook_that_was_resolved_before_is_judged_again() {
    let document = parse_playbook(DOCUMENT.as_bytes()).unwrap();
    let builtins = [info(PluginKind::Strategy, "rolling"), info(PluginKind::Step, "action")];
    let plugins = [("drain".to_owned(), info(PluginKind::Step, "drain"))].into();
    let playbook = resolve(&document, &plugins, &builtins).unwrap();
    let known: BTreeMap<String, Facts> = [("drain".to_owned(), facts("file:", &["ops"]))].into();
    let refused = |rules: &str, known: &BTreeMap<String, Facts>| {
        let refused = check_playbook(&policy(rules), &playbook, known);
        refused
            .into_iter()
            .map(|(name, refusal): (String, Refusal)| format!("{name}: {refusal}"))
            .collect::<Vec<_>>()
    };
    let wide = "{ match: 'file:*', signed_by: [ops], may: { actions: ['*'] } }";
    assert_eq!(refused(wide, &known), Vec::<String>::new());
    let gone = refused(wide, &BTreeMap::new());
    assert!(
        gone.len() == 1 && gone[0].starts_with("drain: policy \"house\" can't judge"),
        "{gone:?}"
    );
    let narrow = refused("{ match: 'file:*', may: { actions: [a/x] } }", &known);
    assert!(narrow.len() == 1 && narrow[0].contains("found actions b/y"), "{narrow:?}");
    let builtin = refused(&format!("{wide}, {{ match: 'builtin:action' }}"), &known);
    assert!(builtin.len() == 1 && builtin[0].starts_with("action: rule 2"), "{builtin:?}");
}

fn some<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    prop::sample::subsequence(all.to_vec(), 0..=all.len())
}

const ACTIONS: &[&str] = &["*", "a/*", "a/x", "a/x*", "b/y"];
const ORIGINS: &[&str] =
    &["*", "https://*:*", "https://*.example", "https://a.example", "http://a.example"];
const ASKED_ORIGINS: &[&str] =
    &["https://a.example", "https://b.a.example", "http://a.example", "https://c.org"];
const SOURCES: &[&str] =
    &["file:", "oci://r.example/a/b:1", "oci://r.example/c:2", "builtin:http", "store:x@1.0.0"];
const MATCHES: &[&str] =
    &["file:*", "oci://r.example/a/*", "oci://*:*/*", "builtin:*", "builtin:http"];

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

prop_compose! {
    fn rule()(
        matches in prop::sample::select(MATCHES),
        signed_by in some(&["ops", "dev"]),
        actions in some(ACTIONS),
        http in some(ORIGINS),
        signals in some(ACTIONS),
        playbooks in prop::option::of(some(&["lab/*", "lab/drill", "ops"])),
        proved in prop::option::weighted(0.1, 1..9_u32),
    ) -> Rule {
        let http = http.iter().filter_map(|text| OriginPattern::parse(text)).collect();
        Rule {
            matches: Match::parse(matches).unwrap(),
            signed_by: texts(&signed_by),
            may: May { actions: texts(&actions), http, signals: texts(&signals), ..May::default() },
            playbooks: playbooks.map(|all| texts(&all)),
            proved: proved.map(|seeds| Proved { seeds, properties: Vec::new() }),
        }
    }
}

/// Makes a policy stricter, in one of the ways that there are.
fn tighten(mut policy: Policy, how: u8, at: usize) -> Policy {
    let count = policy.plugins.len();
    let last = policy.plugins.last().map(|rule| &rule.matches);
    let ends_builtin = matches!(last, Some(Match::Builtin(_)));
    let Some(rule) = policy.plugins.get_mut(at % count.max(1)) else { return policy };
    match how % 8 {
        0 => drop(rule.may.actions.pop()),
        1 => drop(rule.may.http.pop()),
        2 if rule.signed_by.is_empty() => rule.signed_by.push("ops".to_owned()),
        2 if rule.signed_by.len() > 1 => drop(rule.signed_by.pop()),
        3 => match &mut rule.playbooks {
            Some(patterns) => drop(patterns.pop()),
            None => rule.playbooks = Some(vec!["lab/*".to_owned()]),
        },
        4 => rule.proved = Some(Proved { seeds: 1, properties: Vec::new() }),
        // No rule comes after the last one, which could count in its place. Without any, what came with the program is
        // free again, so that one stays.
        5 if !ends_builtin => drop(policy.plugins.pop()),
        6 => {
            rule.may.actions =
                rule.may.actions.iter().map(|pattern| pattern.replace('*', "z")).collect();
        }
        7 => drop(rule.may.signals.pop()),
        _ => {}
    }
    policy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tightening_a_policy_never_allows_more(
        rules in prop::collection::vec(rule(), 0..4),
        how in prop::collection::vec((any::<u8>(), any::<usize>()), 1..6),
        source in prop::sample::select(SOURCES),
        signers in some(&["ops", "dev"]),
        lost in any::<bool>(),
        playbook in prop::sample::select(&["lab/drill", "lab", "ops", "other"][..]),
        actions in some(ACTIONS),
        http in some(ASKED_ORIGINS),
        signals in some(ACTIONS),
    ) {
        let before = Policy { name: "house".to_owned(), keys: BTreeMap::new(), plugins: rules };
        let after = how.into_iter().fold(before.clone(), |policy, (how, at)| tighten(policy, how, at));
        let given = Grants { signals: texts(&signals), ..grants(&actions, &http) };
        let signed = facts(source, &signers);
        let less_signed = if lost { facts(source, &[]) } else { signed.clone() };
        let judged = after.judge(&less_signed, playbook, &given);
        if let Ok(allowed) = &judged {
            prop_assert_eq!(&allowed.grants, &given, "only what the playbook gives");
            let earlier = before.judge(&signed, playbook, &given);
            prop_assert!(earlier.is_ok(), "{:?} allows what {:?} refused: {:?}", after, before, earlier);
            prop_assert!(after.admit(&less_signed).is_ok());
        }
        // A playbook that grants less is never refused for it.
        let less = Grants { actions: given.actions.iter().skip(1).cloned().collect(), ..given.clone() };
        if judged.is_ok() {
            prop_assert!(after.judge(&less_signed, playbook, &less).is_ok());
        }
        // Of a plugin that needs a rule, every grant that counts is one that the rule gives.
        let rule = after.plugins.iter().find(|rule| rule.matches.fits(source, &signed.digest));
        if let (Ok(_), Some(rule)) = (&judged, rule) {
            prop_assert!(asks(&given).iter().all(|ask| rule.may.gives(ask)));
        }
    }
}
