//! Tests of the document: examples as users write them, every refusal, and lossless conversion both ways.
//!
//! The round-trip property builds documents from the types, so a new key is covered the day it is added to the
//! generator below. No I/O besides the seed file compiled in.

use proptest::prelude::*;

use super::*;
use crate::Code;

const FLIGHTS: &str = r#"
name: flights_by_carrier
schedule: { cron: "0 2 * * *", timezone: Europe/Paris, enabled: true }
connections:
  landing: { type: local_file, path: ./input }
  mart:    { type: postgresql, host: localhost, database: mart, user: etl, password: secret://env/MART_PASSWORD }
nodes:
  flights:  { extract: { from: landing, asset: flights.csv } }
  airlines: { extract: { from: landing, asset: airlines.csv } }
  joined:   { sql: "select f.*, a.name as airline from flights f join airlines a using (carrier)" }
  clean:
    validate:
      input: joined
      checks:
        - { column: dep_delay, check: range, min: -120, max: 2000, on_fail: quarantine }
        - { column: tailnum, check: not_null, on_fail: warn }
  out:      { load: { input: clean, to: mart, asset: public.flights, write: upsert, key: [flight_id] } }
"#;

const SEED: &str = r#"{
  "name": "User Backup Pipeline", "description": "Backs up user data daily",
  "schedule_cron": "0 0 * * *", "schedule_enabled": true,
  "initial_version": {
    "config_snapshot": {},
    "nodes": [
      {"node_id": "extract_users", "name": "Extract Users", "operator_type": "extract", "operator_class": "postgresql", "source_asset_id": 1, "order_index": 1},
      {"node_id": "load_backup", "name": "Load Backup", "operator_type": "load", "operator_class": "postgresql", "destination_asset_id": 1, "order_index": 2}
    ],
    "edges": [{"from_node_id": "extract_users", "to_node_id": "load_backup"}]
  }
}"#;

fn round_trip(spec: &PipelineSpec) {
    let yaml = spec.to_yaml();
    assert_eq!(
        PipelineSpec::from_yaml(&yaml).as_ref(),
        Ok(spec),
        "through YAML:\n{yaml}"
    );
    let json = spec.to_api_json().to_string();
    assert_eq!(
        PipelineSpec::from_json(&json).as_ref(),
        Ok(spec),
        "through JSON:\n{json}"
    );
    assert_eq!(
        PipelineSpec::from_json(&spec.to_value().to_string()).as_ref(),
        Ok(spec)
    );
}

#[test]
fn the_design_example_reads_and_converts_both_ways() {
    let spec = PipelineSpec::from_yaml(FLIGHTS).expect("reads");
    assert_eq!(spec.nodes.len(), 5);
    assert_eq!(spec.connections["mart"].kind, "postgresql");
    round_trip(&spec);
}

#[test]
fn the_predecessors_payload_reads_into_the_same_document() {
    let spec = PipelineSpec::from_json(SEED).expect("reads");
    let as_yaml = "name: User Backup Pipeline\ndescription: Backs up user data daily\nschedule: {cron: '0 0 * * *'}\nnodes:\n  extract_users: {name: Extract Users, extract: {connector: postgresql, asset_id: 1}}\n  load_backup: {name: Load Backup, load: {input: extract_users, connector: postgresql, asset_id: 1}}\n";
    assert_eq!(PipelineSpec::from_yaml(as_yaml).as_ref(), Ok(&spec));
    assert_eq!(
        spec.hash(),
        PipelineSpec::from_yaml(as_yaml).expect("reads").hash()
    );
    round_trip(&spec);
}

#[test]
fn aliases_of_the_predecessor_end_in_one_spelling() {
    let text = r#"{"name":"t","nodes":[
        {"node_id":"a","operator_type":"extract","operator_class":"local_file","config":{"from":"x","asset":"a.csv"},"sync_mode":"full_load"},
        {"node_id":"m","operator_type":"transform","operator_class":"derive","config":{"columns":{"y":"x+1"}}},
        {"node_id":"r","operator_type":"transform","operator_class":"map","config":{"rename":{"y":"z"}}},
        {"node_id":"o","operator_type":"load","operator_class":"local_file","config":{"to":"x","asset":"o.csv"},"write_strategy":"overwrite"}],
        "edges":[{"from_node_id":"a","to_node_id":"m"},{"from_node_id":"m","to_node_id":"r"},{"from_node_id":"r","to_node_id":"o"}]}"#;
    let spec = PipelineSpec::from_json(text).expect("reads");
    let words: Vec<_> = spec.nodes.iter().map(|n| n.operator.word()).collect();
    assert_eq!(words, ["extract", "map", "rename", "load"]);
    assert!(matches!(&spec.nodes[3].operator, Operator::Load(l) if l.write == WriteMode::Replace));
    round_trip(&spec);
}

#[test]
fn a_node_with_nothing_after_its_colon_is_not_left_out() {
    let error =
        PipelineSpec::from_yaml("name: t\nnodes:\n  a: {sql: select 1}\n  q:\n").expect_err("no operator");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0103, Some("q")),
        "{error:?}"
    );
}

fn refusal(yaml: &str) -> (Code, String, String) {
    let error = PipelineSpec::from_yaml(yaml).expect_err("a refusal");
    (
        error.code(),
        error.message().to_owned(),
        error.hint().unwrap_or_default().to_owned(),
    )
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    let (code, message, hint) = refusal("name: t\nnodes: {a: {extract: {form: x, asset: y}}}");
    assert_eq!(
        (code, hint.as_str()),
        (Code::E0102, "did you mean `from`?"),
        "{message}"
    );
    let (code, _, hint) = refusal("name: t\nconections: {}\nnodes: {a: {extract: {from: x, asset: y}}}");
    assert_eq!(
        (code, hint.as_str()),
        (Code::E0102, "did you mean `connections`?")
    );
    let (code, _, hint) = refusal("name: t\nnodes: {a: {exract: {from: x, asset: y}}}");
    assert_eq!((code, hint.as_str()), (Code::E0102, "did you mean `extract`?"));
    let (code, _, hint) = refusal("name: t\nnodes: {a: {load: {input: x, to: y, asset: z, write: upsrt}}}");
    assert_eq!((code, hint.as_str()), (Code::E0103, "did you mean `upsert`?"));
}

#[test]
fn every_fault_is_reported_at_once() {
    let error = PipelineSpec::from_yaml("nodes:\n  a: {extract: {form: x}}\n  '1b': {filter: {input: a, where: t}}\n  c: {dbt: {}}\n  d: {filter: {input: a}}").expect_err("faults");
    let codes: Vec<_> = error.iter().map(|e| e.code().as_str()).collect();
    assert_eq!(codes, ["E0103", "E0102", "E0116", "E0111", "E0103"]);
    assert!(error.iter().all(|e| e.hint().is_some()));
}

#[test]
fn a_lookup_of_an_asset_reads_it_with_an_extract_of_its_own() {
    let yaml = "name: t\nnodes:\n  a: {extract: {from: x, asset: y}}\n  b: {lookup: {input: a, from: x, asset: z, on: [k]}}\n  o: {load: {input: b, to: x, asset: w}}\n";
    let spec = PipelineSpec::from_yaml(yaml).expect("reads");
    round_trip(&spec);
    let expanded = spec.expanded();
    let graph = crate::dag::Graph::build(&expanded).expect("a graph");
    assert_eq!(graph.order, ["a", "b_reference", "b", "o"]);
    let taken = yaml
        .replace("  a: {", "  b_reference: {")
        .replace("input: a", "input: b_reference");
    let taken = PipelineSpec::from_yaml(&taken).expect("reads").expanded();
    assert_eq!(taken.nodes[1].id, "b_reference_", "no node is shadowed");
    let (code, message, _) = {
        let twice = yaml.replace("input: a, from", "input: a, reference: a, from");
        let spec = PipelineSpec::from_yaml(&twice).expect("reads");
        let error = crate::dag::Graph::build(&spec).expect_err("two references");
        (error.code(), error.message().to_owned(), ())
    };
    assert_eq!(code, Code::E0103, "{message}");
}

#[test]
fn null_is_the_word_of_a_mask_and_of_a_missing_key() {
    let yaml = "name: t\nnodes:\n  a: {extract: {from: x, asset: y}}\n  m: {mask: {input: a, columns: {b: null, c: {partial: {last: 4}}}}}\n  r: {extract: {from: x, asset: r}}\n  l: {lookup: {input: m, reference: r, on: [k], on_missing: null}}\n  o: {load: {input: l, to: x, asset: w}}\n";
    let spec = PipelineSpec::from_yaml(yaml).expect("reads");
    assert!(
        matches!(&spec.nodes[1].operator, Operator::Mask(m) if m.columns.get("b") == Some(&MaskHow::Null))
    );
    round_trip(&spec);
    let (code, message, hint) = refusal("name: t\nnodes: {m: {mask: {input: a, columns: {b: hsh}}}}");
    assert_eq!(
        (code, hint.as_str()),
        (Code::E0103, "did you mean `hash`?"),
        "{message}"
    );
}

#[test]
fn edges_give_no_side_to_a_lookup() {
    let text = r#"{"name":"t","nodes":[
        {"node_id":"a","operator_type":"extract","operator_class":"local_file","config":{"from":"x","asset":"a.csv"}},
        {"node_id":"r","operator_type":"extract","operator_class":"local_file","config":{"from":"x","asset":"r.csv"}},
        {"node_id":"l","operator_type":"transform","operator_class":"lookup","config":{"reference":"r","on":["k"]}},
        {"node_id":"o","operator_type":"load","operator_class":"local_file","config":{"to":"x","asset":"o.csv"}}],
        "edges":[{"from_node_id":"a","to_node_id":"l"},{"from_node_id":"r","to_node_id":"l"},{"from_node_id":"l","to_node_id":"o"}]}"#;
    assert_eq!(
        PipelineSpec::from_json(text).expect_err("refused").code(),
        Code::E0106
    );
    let named = text.replace(r#""reference""#, r#""input":"a","reference""#);
    round_trip(&PipelineSpec::from_json(&named).expect("reads"));
}

#[test]
fn broken_yaml_tells_the_line_and_duplicates_are_refused() {
    let (code, message, _) = refusal("name: t\nnodes: [\n");
    assert_eq!(code, Code::E0101);
    assert!(message.contains("line"), "{message}");
    assert_eq!(refusal("name: t\nname: u\nnodes: {}").0, Code::E0101);
}

#[test]
fn the_api_form_refuses_what_it_would_have_to_ignore() {
    let text = r#"{"name":"t","nodes":[{"node_id":"a","operator_type":"extract","operator_class":"x","guardrails":{"max":1}}],"edges":[]}"#;
    assert_eq!(
        PipelineSpec::from_json(text).expect_err("refused").code(),
        Code::E0111
    );
}

#[test]
fn the_schema_covers_every_operator() {
    let schema = json_schema();
    let node = &schema["properties"]["nodes"]["additionalProperties"]["properties"];
    for word in Operator::WORDS {
        assert!(node.get(word).is_some(), "{word} is missing");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "[ -~]{1,12}",
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("~".to_owned()),
        "\\PC{1,6}"
    ]
}

fn opt(s: impl Strategy<Value = String>) -> impl Strategy<Value = Option<String>> {
    proptest::option::of(s)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        text().prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
    ]
}

fn extract() -> impl Strategy<Value = Operator> {
    (
        opt(text()),
        text(),
        proptest::option::of(0i64..99),
        proptest::collection::vec(("[a-z]{1,5}", scalar()), 0..3),
    )
        .prop_map(|(query, from, asset_id, options)| {
            Operator::Extract(Extract {
                from: Some(from),
                query,
                asset_id,
                partition: if asset_id.is_some() {
                    PartitionBy::Column(PartitionColumn {
                        column: "k".into(),
                        count: 3,
                    })
                } else {
                    PartitionBy::None
                },
                options: options.into_iter().collect(),
                ..Default::default()
            })
        })
}

fn inner(input: &'static str) -> impl Strategy<Value = Operator> {
    let check = (
        text(),
        scalar(),
        proptest::collection::vec(scalar(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(column, min, values, b)| Check {
            column: Some(column),
            check: if b {
                CheckKind::Range
            } else {
                CheckKind::AcceptedValues
            },
            min: Some(min),
            exclusive: if b { Exclusive::Both } else { Exclusive::Min },
            values,
            null_passes: Some(b),
            reject: UniqueReject::All,
            on_fail: Some(OnFail::Quarantine),
            warn_above: Some(if b {
                Threshold::Rows(7)
            } else {
                Threshold::Percent(0.25)
            }),
            severity: b.then_some(Severity::Critical),
            max_age: b.then_some(Span(std::time::Duration::from_secs(90))),
            ..Check::default()
        });
    prop_oneof![
        text().prop_map(move |condition| Operator::Filter(Filter {
            input: Some(input.into()),
            condition
        })),
        proptest::collection::vec((text(), text()), 0..3).prop_map(move |columns| Operator::Map(
            MapColumns {
                input: Some(input.into()),
                columns: ordered(columns),
                keep: true
            }
        )),
        proptest::collection::vec(text(), 1..3).prop_map(move |columns| Operator::Drop(DropColumns {
            input: Some(input.into()),
            columns
        })),
        proptest::collection::vec((text(), scalar()), 0..3).prop_map(move |columns| Operator::FillNulls(
            FillNulls {
                input: Some(input.into()),
                columns: ordered(columns),
                value: None,
                strategy: Some(FillStrategy::Mean),
                subset: vec![]
            }
        )),
        proptest::collection::vec(check, 0..3).prop_map(move |checks| Operator::Validate(Validate {
            input: Some(input.into()),
            checks,
            on_fail: OnFail::Drop
        })),
        reshaped(input),
        looked_into(input),
        Just(Operator::Sql(Sql(format!("select * from {input}")))),
        text().prop_map(move |t| Operator::Switch(Switch {
            input: Some(input.into()),
            cases: vec![Case {
                when: t,
                to: "x".into()
            }],
            otherwise: None
        })),
    ]
}

fn reshaped(input: &'static str) -> impl Strategy<Value = Operator> {
    let input = Some(input.to_owned());
    (text(), text(), scalar(), any::<bool>(), 0u32..2).prop_map(move |(a, b, value, yes, n)| {
        let input = input.clone();
        match n {
            0 if yes => Operator::Window(Window {
                input,
                partition_by: vec![a.clone()],
                order_by: vec![b.clone()],
                frame: None,
                columns: ordered(vec![
                    (a.clone(), WindowColumn::Function(b.clone())),
                    (
                        format!("{a}2"),
                        WindowColumn::Framed(FramedFunction {
                            function: a,
                            frame: b,
                        }),
                    ),
                ]),
            }),
            0 => Operator::Pivot(Pivot {
                input,
                group_by: vec![a.clone()],
                column: a.clone(),
                values: PivotValues::List(vec![value, Value::Null]),
                cell: b,
                prefix: Some(a),
                unknown: Unknown::Ignore,
            }),
            _ => Operator::Unpivot(Unpivot {
                input,
                columns: vec![a],
                name: b,
                value: "v".into(),
                include_nulls: yes,
            }),
        }
    })
}

fn looked_into(input: &'static str) -> impl Strategy<Value = Operator> {
    let input = Some(input.to_owned());
    (text(), text(), scalar(), any::<bool>(), 0u32..2).prop_map(move |(a, b, value, yes, n)| {
        let input = input.clone();
        match n {
            0 => Operator::Flatten(Flatten {
                input,
                json: Some(FlattenJson {
                    column: a.clone(),
                    fields: ordered(vec![
                        (
                            a.clone(),
                            JsonField::At(JsonPlace {
                                path: b.clone(),
                                r#type: "text".into(),
                            }),
                        ),
                        (format!("{a}2"), JsonField::Type(b.clone())),
                    ]),
                    keep: yes,
                    on_error: CastError::Null,
                }),
                explode: Some(a.clone()),
                outer: yes,
                ordinal: Some(b.clone()),
                unpack: ordered(vec![(a, b)]),
            }),
            _ if yes => Operator::Mask(Mask {
                input,
                salt: Some(format!("secret://env/{a}")),
                columns: ordered(vec![
                    (a.clone(), MaskHow::Null),
                    (format!("{a}2"), MaskHow::Hash),
                    (
                        format!("{a}3"),
                        MaskHow::Partial(PartialMask { first: 1, last: 0 }),
                    ),
                ]),
            }),
            _ => Operator::Lookup(Lookup {
                input,
                reference: None,
                from: Some("c".into()),
                asset: Some(a.clone()),
                options: Map::from_iter([("k".to_owned(), value)]),
                on: LookupOn::Pairs(ordered(vec![(a.clone(), b.clone())])),
                columns: Some(LookupColumns::List(vec![b.clone()])),
                prefix: Some(a),
                on_missing: Missing::Quarantine,
                pick: Some(Pick::First),
                order_by: vec![b],
            }),
        }
    })
}

fn ordered<T>(entries: Vec<(String, T)>) -> OrderedMap<T> {
    let mut seen = std::collections::BTreeSet::new();
    OrderedMap(
        entries
            .into_iter()
            .filter(|(k, _)| seen.insert(k.clone()))
            .collect(),
    )
}

fn documents() -> impl Strategy<Value = PipelineSpec> {
    (
        text(),
        opt(text()),
        opt(text()),
        extract(),
        inner("a"),
        proptest::option::of((0u32..9, 1u64..9_999_999)),
    )
        .prop_filter_map(
            "names are not blank",
            |(name, id, description, first, second, retry)| {
                let node = |id: &str, operator| Node {
                    id: id.into(),
                    name: None,
                    operator,
                    retry: retry.map(|(max, ms)| RetryPolicy {
                        max,
                        strategy: RetryStrategy::Linear,
                        delay: Span(std::time::Duration::from_millis(ms)),
                    }),
                    timeout: retry.map(|(_, ms)| Span(std::time::Duration::from_millis(ms))),
                };
                let load = Operator::Load(Load {
                    input: Some("a".into()),
                    to: Some("c".into()),
                    asset: Some("t".into()),
                    write: WriteMode::Mirror,
                    key: vec!["k".into()],
                    partition_by: vec!["p".into()],
                    scd2: Some(Box::new(Scd2Options {
                        time: Some("t".into()),
                        track: vec!["v".into()],
                        max_close_percent: 3,
                        ..Default::default()
                    })),
                    mirror: Some(Box::new(MirrorOptions {
                        delete: DeleteHow::Soft,
                        scope: OrderedMap(vec![("p".into(), Value::Null), ("a".into(), vec![1, 2].into())]),
                        ..Default::default()
                    })),
                    create: false,
                    ..Default::default()
                });
                (!name.trim().is_empty()).then(|| PipelineSpec {
                    id,
                    name,
                    description,
                    schedule: None,
                    connections: [(
                        "c".to_owned(),
                        ConnectionSpec {
                            kind: "sqlite".into(),
                            config: Map::from_iter([("path".to_owned(), "x".into())]),
                        },
                    )]
                    .into(),
                    quarantine: None,
                    nodes: vec![node("a", first), node("b", second), node("out", load)],
                })
            },
        )
}

proptest! {
    #[test]
    fn any_document_converts_both_ways_without_loss(spec in documents()) {
        round_trip(&spec);
    }
}
