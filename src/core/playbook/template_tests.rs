use super::*;
use serde_json::json;

fn render(source: Value) -> Result<Value, ExprError> {
    let params = json!({"n": 3, "s": "text", "list": [1, "a"], "map": {"k": true}, "none": null});
    let none = json!({});
    let scope = Scope { params: &params, agent: &none, steps: &none, run: &none, cluster: &none };
    Template::parse(source)?.render(&scope)
}

#[test]
fn an_expression_alone_keeps_its_type_and_in_text_it_is_rendered() {
    let cases = [
        (json!("${{ params.n }}"), json!(3)),
        (json!("${{params.list}}"), json!([1, "a"])),
        (json!(" ${{ params.n }}"), json!(" 3")),
        (json!("${{ params.n }}${{ params.s }}"), json!("3text")),
        (
            json!("n=${{ params.n }}, l=${{ params.list }}, ${{ params.none }}"),
            json!("n=3, l=[1,\"a\"], null"),
        ),
        (
            json!({"a": ["${{ params.map }}", 1], "b": null}),
            json!({"a": [{"k": true}, 1], "b": null}),
        ),
        (json!("${{ {\"a\": {\"b\": params.n}} }}"), json!({"a": {"b": 3}})),
        (json!("${{ \"}}\" + 'x\\'}}' + r\"\\\" + \"\"\"\"}}\"\"\" }}!"), json!("}}x'}}\\\"}}!")),
        (json!("$${{ params.n }} and $5 {{x}}"), json!("${{ params.n }} and $5 {{x}}")),
        (json!(""), json!("")),
        (json!([true, 1.5, "plain"]), json!([true, 1.5, "plain"])),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source.clone()), Ok(expected), "{source}");
    }
}

#[test]
fn every_error_is_found_with_its_place() {
    let source = json!({"a": ["ok", "${{ nope }}"], "b/c": "x ${{ params.n", "${{ k }}": 1});
    let (_, errors) = Template::read(source);
    let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(places, ["/a/1", "/b~1c", ""]);
    assert!(render(json!("${{ }}")).unwrap_err().to_string().contains("it is empty"));
    assert!(
        render(json!("${{ params.missing }}")).unwrap_err().to_string().contains("there is no")
    );
}

#[test]
fn the_number_of_expressions_and_the_size_of_the_result_are_bounded() {
    let many = |n: usize| json!(vec!["${{ params.n }}"; n]);
    assert!(render(many(MAX_EXPRESSIONS)).is_ok());
    let error = render(many(MAX_EXPRESSIONS + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 256 expressions"), "{error}");
    let (params, none) = (json!({"big": "x".repeat(MAX_RENDERED_BYTES / 3)}), json!({}));
    let scope = Scope { params: &params, agent: &none, steps: &none, run: &none, cluster: &none };
    let render =
        |n: usize| Template::parse(json!(vec!["${{ params.big }}"; n])).unwrap().render(&scope);
    assert!(render(2).is_ok());
    assert!(render(4).unwrap_err().to_string().contains("larger than 1048576 bytes"));
}

#[test]
fn expressions_and_what_is_unknown_are_listed() {
    let source = json!({"a": "${{ params.n }}", "b": ["x${{ params.s }}"], "c": "y"});
    let template = Template::parse(source.clone()).unwrap();
    let found: Vec<(String, &str)> =
        template.expressions().into_iter().map(|p| (p.pointer, p.value.source())).collect();
    assert_eq!(found, [("/a".into(), "params.n"), ("/b/0".into(), "params.s")]);
    let unknown: Vec<(String, bool)> =
        template.unknown().into_iter().map(|p| (p.pointer, p.value)).collect();
    assert_eq!(unknown, [("/a".into(), false), ("/b/0".into(), true)]);
    assert_eq!(serde_json::to_value(&template).unwrap(), source);
}

#[test]
fn the_depth_of_the_result_is_bounded() {
    let nested = |depth| (0..depth).fold(json!(1), |value, _| json!([value]));
    let none = json!({});
    let render = |source: Value, depth: usize| {
        let params = json!({"deep": nested(depth)});
        let scope =
            Scope { params: &params, agent: &none, steps: &none, run: &none, cluster: &none };
        Template::parse(source).unwrap().render(&scope)
    };
    let source = json!({"a": ["${{ params.deep }}"], "b": "${{ [params.deep] }}"});
    let rendered = render(source.clone(), MAX_JSON_DEPTH - 2).unwrap();
    assert!(super::depth::json_depth_ok(&rendered));
    let error = render(source, MAX_JSON_DEPTH - 1).unwrap_err().to_string();
    assert!(error.contains("nested more than 64 deep"), "{error}");
    assert!(render(json!("${{ [[params.deep]] }}"), MAX_JSON_DEPTH - 1).is_err());
}
