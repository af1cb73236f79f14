use super::*;
use serde_json::json;

fn eval(source: &str) -> Result<Value, ExprError> {
    let agent = json!({
        "id": "node-1",
        "attributes": {"role": "SECONDARY", "zone": "a", "weight": 2, "on": true, "none": null},
        "node": {"node_status": "HEALTHY"},
    });
    let steps = json!({"step-down": {"result": {"moved": 3}}});
    let params = json!({"grace": 30, "share": 0.5, "hosts": ["a", "b"], "big": u64::MAX,
        "map": {"b": 1, "a": {"c": [1, 2]}}});
    let (run, cluster) = (json!({"id": "r"}), json!({"name": "c"}));
    let scope =
        Scope { params: &params, agent: &agent, steps: &steps, run: &run, cluster: &cluster };
    Expr::parse(source)?.eval(&scope)
}

fn message(source: &str) -> String {
    match eval(source).unwrap_err() {
        ExprError::Invalid { message, .. } => format!("invalid: {message}"),
        ExprError::Failed { message, .. } => format!("failed: {message}"),
    }
}

#[test]
fn values_keep_their_types() {
    let cases = [
        ("params.grace + 1", json!(31)),
        ("params.grace == 30 && params.grace > 0", json!(true)),
        ("-params.grace", json!(-30)),
        ("params.share * 2.0", json!(1.0)),
        ("params.big", json!(u64::MAX)),
        ("params.hosts", json!(["a", "b"])),
        ("params.hosts[1]", json!("b")),
        ("params.map", json!({"a": {"c": [1, 2]}, "b": 1})),
        ("params.map.a.c[0]", json!(1)),
        ("agent.attributes", eval("agent.attributes").unwrap()),
        ("agent.attributes[\"role\"] == \"SECONDARY\"", json!(true)),
        ("agent.attributes.none == null", json!(true)),
        ("steps[\"step-down\"].result.moved > 0", json!(true)),
        ("has(steps.other) ? 1 : 2", json!(2)),
        ("has(agent.attributes.zone)", json!(true)),
        ("agent.attributes[?\"rack\"].orValue(\"none\")", json!("none")),
        ("agent.?attributes.zone.orValue(\"none\")", json!("a")),
        ("\"step-down\" in steps", json!(true)),
        ("params.hosts.exists(h, h == \"b\")", json!(true)),
        ("params.hosts.map(h, h + \".\" + cluster.name)", json!(["a.c", "b.c"])),
        ("params.hosts.filter(h, h != \"a\")", json!(["b"])),
        ("size(params.hosts) == 2 && agent.id.startsWith(\"node\")", json!(true)),
        ("agent.id.matches(\"^node-[0-9]+$\")", json!(true)),
        ("string(params.grace) + \"s\"", json!("30s")),
        ("type(params.grace) == int", json!(true)),
        ("{\"a\": params.grace}", json!({"a": 30})),
        ("run.id + cluster.name", json!("rc")),
    ];
    for (source, expected) in cases {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    assert_eq!(message("params.grce"), "failed: there is no \"grce\"");
    assert_eq!(message("agent.attributes.rack == \"x\""), "failed: there is no \"rack\"");
    assert!(message("params.grace / 0").starts_with("failed: "));
    assert!(message("params.grace + \"x\"").starts_with("failed: "));
    assert!(message("9223372036854775807 + params.grace").starts_with("failed: "));
    assert!(message("(-9223372036854775807 - 1) / (params.grace - 31)").starts_with("failed: "));
    assert!(message("-(-9223372036854775807 - 1)").starts_with("failed: "));
    assert!(message("params.hosts[7]").starts_with("failed: "));
    assert!(message("params.share / 0.0").contains("finite"));
    assert!(message("b\"x\"").contains("of type bytes"));
    assert!(message("{1: 2}").contains("expected only strings"));
}

#[test]
fn names_functions_and_syntax_are_checked_without_a_scope() {
    let unknown = "invalid: unknown name \"param\": did you mean \"params\"?";
    assert_eq!(message("param.grace"), unknown);
    assert!(message("steps.step-down.result").contains("steps[\"step-down\"]"));
    assert!(message("sise(params.hosts)").contains("did you mean \"size\"?"));
    assert!(message("agent.id.startWith(\"x\")").contains("did you mean \"startsWith\"?"));
    assert!(message("size()").contains("takes 1 argument(s), found 0"));
    assert!(message("params.hosts.map(agent, agent)").contains("is taken"));
    assert!(message("agent.id.matches(\"(\")").contains("regular expression"));
    assert!(message("a.b.Message{x: 1}").contains("there is no type"));
    for bad in ["", " ", "params.", "1 +", "params.grace == = 3", "has(params)", "`", "\"", "a b"] {
        assert!(message(bad).starts_with("invalid: "), "{bad}");
    }
}

/// Parsing and evaluating are recursive: the worst expressions within the limits must fit the smallest stack of
/// our threads, with half of it to spare.
#[test]
fn limits_hold_on_a_small_stack() {
    let repeat = |open: &str, middle: &str, close: &str, size: usize| {
        let n = size / (open.len() + close.len());
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    let shapes = [
        ("1+", "1", ""),
        ("1-", "1", ""),
        ("", "params", ".a"),
        ("", "params", "[0]"),
        ("!", "true", ""),
        ("- ", "1", ""),
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("true?1:", "1", ""),
        ("", "params", ".a()"),
        ("true&&", "true", ""),
        ("true||", "true", ""),
        ("size(", "1", ")"),
        ("1<", "1", ""),
        ("[1].map(x,", "1", ")"),
        ("[", "", ""),
        ("(", "", ""),
        ("\"", "", ""),
        ("", "params", ".?a"),
        ("1 in ", "[1]", ""),
        ("{", "", ""),
        ("a?", "", ""),
        ("x{", "", ""),
    ];
    let work = move || {
        for (open, middle, close) in shapes {
            for size in [100, MAX_EXPR_BYTES - 20, MAX_EXPR_BYTES + 1_000] {
                let source = repeat(open, middle, close, size);
                let _ = eval(&source);
                if let Ok(expr) = Expr::parse(&source) {
                    let nodes = expr.compiled.facts.nodes;
                    assert!(nodes <= 8 * source.len() as u64, "{nodes} nodes in {source}");
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn size_depth_and_loops_are_bounded() {
    let long = format!("\"{}\"", "x".repeat(MAX_EXPR_BYTES));
    assert!(message(&long).contains("at most 2048 are allowed"));
    let deep = vec!["1"; 100].join(" + ");
    assert!(message(&deep).contains("nested more than 64 deep"));
    let optional = format!("params{}", ".?a".repeat(MAX_OPTIONAL + 1));
    assert!(message(&optional).contains("at most 32 are allowed"));
    let loops = "params.hosts.map(a, params.hosts.map(b, params.hosts.map(c, 1)))";
    assert!(message(loops).contains("loops are nested more than 2 deep"));
}

fn with_hosts(source: &str, hosts: usize) -> Result<Value, ExprError> {
    let hosts: Vec<String> = (0..hosts).map(|n| format!("host-{n}")).collect();
    let (params, none) = (json!({ "hosts": hosts }), json!({}));
    let agent = json!({"id": "host-7"});
    let scope = Scope { params: &params, agent: &agent, steps: &none, run: &none, cluster: &none };
    Expr::parse(source)?.eval(&scope)
}

#[test]
fn work_that_would_never_end_is_refused_and_plain_loops_are_not() {
    assert_eq!(with_hosts("params.hosts.exists(h, h == agent.id)", 100_000), Ok(json!(true)));
    assert!(with_hosts("params.hosts.filter(h, h != agent.id)", 20_000).is_ok());
    assert!(with_hosts("params.hosts.map(h, h + \"!\").filter(h, h != \"x\")", 2_000).is_ok());
    let bad = [
        "params.hosts.all(a, params.hosts.all(b, a != b || a == b))",
        "params.hosts.map(h, params.hosts)",
        "params.hosts.map(h, h + agent.id).map(h, params.hosts)",
        "params.hosts.map(a, params.hosts).map(l, params.hosts.map(c, l))",
        "params.hosts.all(h, h in params.hosts)",
        "params.hosts.exists(h, params.hosts != params.hosts)",
        "params.hosts.exists(h, [h] == (true ? params.hosts : []))",
        "params.hosts.exists(h, h.matches(\"[a-z]{100}[0-9]{100}x\"))",
    ];
    for source in bad {
        let error = with_hosts(source, 20_000).unwrap_err().to_string();
        assert!(error.contains("it would take too long"), "{source}: {error}");
        assert!(with_hosts(source, 10).is_ok(), "{source}");
    }
}

#[test]
fn regular_expressions_are_written_down_and_bounded() {
    assert!(message("agent.id.matches(params.hosts[0])").contains("has to be written down"));
    assert!(message("matches(agent.id, agent.id)").contains("has to be written down"));
    let long = format!("agent.id.matches(\"{}\")", "x".repeat(scan::MAX_REGEX_BYTES + 1));
    assert!(message(&long).contains("at most 256 are allowed"));
    assert!(message("agent.id.matches(\"(x{100}){100}\")").contains("larger than 131072 bytes"));
    assert_eq!(eval("matches(agent.id, \"^node-[0-9]+$\")"), Ok(json!(true)));
    let plain = "params.hosts.exists(h, h.matches(\"^host-77$\"))";
    assert_eq!(with_hosts(plain, 5_000), Ok(json!(true)));
}

#[test]
fn a_result_has_a_largest_size() {
    let (params, none) = (json!({"text": "x".repeat(600 * 1024)}), json!({}));
    let scope = Scope { params: &params, agent: &none, steps: &none, run: &none, cluster: &none };
    assert!(Expr::parse("params.text").unwrap().eval(&scope).is_ok());
    let error = Expr::parse("params.text + params.text").unwrap().eval(&scope).unwrap_err();
    assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
}

#[test]
fn only_what_is_used_is_converted() {
    let expr = Expr::parse("agent.attributes.zone == \"a\" && steps[\"x\"].result.ok").unwrap();
    assert_eq!(
        expr.paths(),
        [vec!["agent", "attributes", "zone"], vec!["steps", "x", "result", "ok"]]
    );
    let whole = Expr::parse("size(params) > params.a").unwrap();
    assert_eq!(whole.paths(), [vec!["params"]]);
}

#[test]
fn an_expression_is_kept_as_its_text() {
    let expr = Expr::parse("params.a > 1").unwrap();
    let text = serde_json::to_string(&expr).unwrap();
    assert_eq!(text, "\"params.a > 1\"");
    assert_eq!(serde_json::from_str::<Expr>(&text).unwrap(), expr);
    assert!(serde_json::from_str::<Expr>("\"nope\"").is_err());
}

#[test]
fn a_condition_is_true_or_false() {
    let none = json!({});
    let scope = Scope { params: &none, agent: &none, steps: &none, run: &none, cluster: &none };
    assert_eq!(Expr::parse("1 == 1").unwrap().eval_bool(&scope), Ok(true));
    let error = Expr::parse("\"true\"").unwrap().eval_bool(&scope).unwrap_err().to_string();
    assert!(error.ends_with("found \"true\", expected true or false"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn reading_and_evaluating_never_panics(
        source in r#"(params|agent|steps|[a-z]|[0-9]{1,20}|"[a-z]*"|[-+*/%<>=!&|?:.,(){}\[\] \\'`"@#$;u]){0,24}"#
    ) {
        let _ = eval(&source);
    }
}
