//! Models against the libraries that made them, small models made by hand, and files of any content.
//!
//! `fixtures/make` trains the models of the fixtures again. To compare with a model and scores of your own, which
//! `scripts/train --scores` writes, set `TRIBUTARY_TEST_MODEL` and `TRIBUTARY_TEST_SCORES` to the two files.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const XGBOOST: &str = include_str!("fixtures/xgboost.json");
const LIGHTGBM: &str = include_str!("fixtures/lightgbm.txt");

/// Checks each row of a file of scores: the features, the library's margin and its score. Returns the number of rows.
fn check_scores(model: &str, scores: &str) -> usize {
    let model = Model::read(model.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = scores.lines();
    let mut names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    assert_eq!(
        (names.pop(), names.pop()),
        (Some("score"), Some("margin")),
        "the last columns"
    );
    assert_eq!(model.features(), names);
    let [mut rows, mut other_scores] = [0; 2];
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let (features, [margin, score]) = cells.split_last_chunk().expect("a margin and a score");
        let row: Vec<Option<i64>> = features
            .iter()
            .map(|cell| (!cell.is_empty()).then(|| cell.parse().expect("an integer")))
            .collect();
        assert_eq!(
            model.margin(&row),
            margin.parse::<f64>().expect("a number"),
            "{line}"
        );
        other_scores += usize::from(model.score(&row) != score.parse::<u16>().expect("a score"));
        rows += 1;
    }
    assert_eq!(other_scores, 0, "of {rows} rows");
    rows
}

#[test]
fn margins_and_scores_are_those_of_the_libraries() {
    assert_eq!(
        check_scores(XGBOOST, include_str!("fixtures/xgboost.csv")),
        100
    );
    assert_eq!(
        check_scores(LIGHTGBM, include_str!("fixtures/lightgbm.csv")),
        100
    );
    let [model, scores] = ["TRIBUTARY_TEST_MODEL", "TRIBUTARY_TEST_SCORES"].map(std::env::var_os);
    if let (Some(model), Some(scores)) = (model, scores) {
        let read = |path| std::fs::read_to_string(path).expect("a file");
        let rows = check_scores(&read(&model), &read(&scores));
        println!("{}: {rows} rows agree", model.display());
    }
}

type XgboostNode = (i32, i32, f32, u32, u8);

/// A tree of XGBoost: for each node its children, threshold or value, feature, and whether missing values go left.
fn xgboost_tree(nodes: &[XgboostNode]) -> String {
    let column = |cell: &dyn Fn(&XgboostNode) -> String| {
        nodes.iter().map(cell).collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"left_children":[{}],"right_children":[{}],"split_conditions":[{}],"split_indices":[{}],"default_left":[{}],"id":0}}"#,
        column(&|node| node.0.to_string()),
        column(&|node| node.1.to_string()),
        column(&|node| format!("{:e}", node.2)),
        column(&|node| node.3.to_string()),
        column(&|node| node.4.to_string()),
    )
}

fn xgboost_model(trees: &[String]) -> String {
    format!(
        r#"{{"learner":{{"feature_names":["a","b"],"gradient_booster":{{"model":{{"trees":[{}]}},"name":"gbtree"}},"learner_model_param":{{"base_score":"5E-1","num_class":"0","num_feature":"2","num_target":"1"}},"objective":{{"name":"binary:logistic"}}}},"version":[2,1,0]}}"#,
        trees.join(",")
    )
}

/// A leaf of 0.5 if `a < 10`, or `a` is missing; otherwise -0.25 if `b < -3`; otherwise, also without `b`, 1.
fn small_xgboost() -> String {
    xgboost_model(&[xgboost_tree(&[
        (1, 2, 10.0, 0, 1),
        (-1, -1, 0.5, 0, 0),
        (3, 4, -3.0, 1, 0),
        (-1, -1, -0.25, 0, 0),
        (-1, -1, 1.0, 0, 0),
    ])])
}

/// One tree of three leaves: 0.5 if the first split goes left, otherwise -0.25 and 1 by `b <= -3`.
fn small_lightgbm(decision: u8, threshold: &str) -> String {
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=binary sigmoid:1\n\
         feature_names=a b\n\nTree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 1\nthreshold={threshold} -3\n\
         decision_type={decision} 8\nleft_child=-1 -2\nright_child=1 -3\nleaf_value=0.5 -0.25 1\nis_linear=0\n\n\n\
         end of trees\n\nparameters:\nend of parameters\n"
    )
}

#[track_caller]
fn check_margins(model: &str, cases: &[([Option<i64>; 2], f64)]) {
    let model = Model::read(model.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    for (row, margin) in cases {
        assert_eq!(model.margin(row), *margin, "{row:?}");
    }
}

#[test]
fn xgboost_compares_by_less_than_and_sends_missing_values_by_default() {
    check_margins(
        &small_xgboost(),
        &[
            ([Some(9), None], 0.5),
            ([Some(10), Some(-4)], -0.25),
            ([Some(10), Some(-3)], 1.0),
            ([Some(i64::MAX), Some(i64::MIN)], -0.25),
            ([Some(i64::MIN), Some(0)], 0.5),
            ([Some(11), None], 1.0),
            ([None, Some(7)], 0.5),
        ],
    );
    let old = small_xgboost().replace(
        r#""default_left":[1,0,0,0,0]"#,
        r#""default_left":[true,false,false,false,false]"#,
    );
    assert_ne!(old, small_xgboost());
    check_margins(&old, &[([None, None], 0.5)]);
}

#[test]
fn the_base_score_of_xgboost_is_a_probability() {
    for (base, margin) in [
        ("5E-1", 0.0),
        ("[5E-1]", 0.0),
        ("[ 2.5E-1 ]", -(3.0_f64.ln() as f32)),
        // XGBoost's 1 / 0.75 - 1 in `f32` is this much more than a third.
        ("7.5E-1", -(0.333_333_37_f64.ln() as f32)),
    ] {
        let model = small_xgboost().replace("5E-1", base);
        let expected = f64::from(margin + 0.5);
        check_margins(&model, &[([None, None], expected)]);
    }
}

#[test]
fn lightgbm_compares_by_at_most_and_has_three_kinds_of_missing_values() {
    let [below, rest] = [0.5, 1.0];
    let check = |decision: u8, threshold: &str, a: [(Option<i64>, f64); 4]| {
        let cases = a.map(|(a, margin)| ([a, Some(0)], margin));
        check_margins(&small_lightgbm(decision, threshold), &cases);
    };
    let [none, zero, one, two] = [None, Some(0), Some(1), Some(2)];
    // Nothing is missing: such a value counts as zero.
    check(
        0,
        "1",
        [(none, below), (zero, below), (one, below), (two, rest)],
    );
    check(
        2,
        "-1",
        [(none, rest), (zero, rest), (one, rest), (Some(-1), below)],
    );
    // Zero is missing.
    check(
        4,
        "1",
        [(none, rest), (zero, rest), (one, below), (two, rest)],
    );
    check(
        6,
        "-1",
        [(none, below), (zero, below), (one, rest), (two, rest)],
    );
    // NaN is missing.
    check(
        8,
        "1",
        [(none, rest), (zero, below), (one, below), (two, rest)],
    );
    check(
        10,
        "-1",
        [(none, below), (zero, rest), (one, rest), (two, rest)],
    );
    // What LightGBM writes for a split between missing values and all others.
    for all in ["inf", "1.0000000000000001e+300"] {
        let (least, most) = (Some(i64::MIN), Some(i64::MAX));
        check(
            8,
            all,
            [(none, rest), (zero, below), (most, below), (least, below)],
        );
        check(
            10,
            &format!("-{all}"),
            [(none, below), (zero, rest), (most, rest), (least, rest)],
        );
    }
    let steep = small_lightgbm(8, "1").replace("sigmoid:1", "sigmoid:2.5");
    check_margins(&steep, &[([zero, none], 1.25)]);
}

#[test]
fn a_tree_of_one_leaf_gives_that_leaf() {
    let model = small_lightgbm(8, "1");
    let (start, _) = model.split_once("num_leaves").expect("a tree");
    let lone = format!(
        "{start}num_leaves=1\nnum_cat=0\nsplit_feature=\nthreshold=\ndecision_type=\nleft_child=\nright_child=\n\
         leaf_value=-1.5\nis_linear=0\nend of trees\n"
    );
    check_margins(&lone, &[([None, None], -1.5)]);
    let lone = xgboost_model(&[xgboost_tree(&[(-1, -1, -1.5, 0, 0)])]);
    check_margins(&lone, &[([None, None], -1.5)]);
}

#[track_caller]
fn check_refused(model: impl AsRef<[u8]>, expected: &str) {
    let error = Model::read(model.as_ref()).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}\ninstead of\n{expected}");
}

#[test]
fn other_kinds_of_models_are_refused_with_what_to_do() {
    let xgboost = |from: &str, to: &str, expected: &str| {
        assert!(small_xgboost().contains(from), "{from}");
        check_refused(small_xgboost().replace(from, to), expected);
    };
    xgboost(
        "gbtree",
        "dart",
        "booster is \"dart\", and only gbtree is read; train with objective",
    );
    xgboost("\"gbtree\"", "\"gblinear\"", "booster is \"gblinear\"");
    xgboost(
        "binary:logistic",
        "multi:softprob",
        "\"multi:softprob\", and only binary:logistic",
    );
    xgboost(
        r#""num_class":"0""#,
        r#""num_class":"3""#,
        "3 classes and 1 targets",
    );
    xgboost(
        r#""num_target":"1""#,
        r#""num_target":"2""#,
        "0 classes and 2 targets",
    );
    xgboost(
        r#"["a","b"]"#,
        "[]",
        "no names of features; train with names",
    );
    xgboost(r#"["a","b"]"#, r#"["a"]"#, "1 names for 2 features");
    xgboost(
        r#"["a","b"]"#,
        r#"["a","a"]"#,
        "two features have the name \"a\"",
    );
    xgboost(
        r#"["a","b"]"#,
        r#"["a",""]"#,
        "name of feature 1 has 0 bytes",
    );
    xgboost(
        r#""id":0"#,
        r#""split_type":[1,0,0,0,0]"#,
        "tree 0, node 0: the node splits by categories",
    );
    xgboost("5E-1", "1E0", "only a probability between 0 and 1");
    xgboost("5E-1", "[5E-1,5E-1]", "base_score is");
    let lightgbm = |from: &str, to: &str, expected: &str| {
        let model = small_lightgbm(8, "1");
        assert!(model.contains(from), "{from}");
        check_refused(model.replace(from, to), expected);
    };
    lightgbm(
        "binary sigmoid:1",
        "regression",
        "line 6: the objective is \"regression\"",
    );
    lightgbm("sigmoid:1", "sigmoid:0", "no objective that is known");
    lightgbm("num_class=1", "num_class=3", "line 3: num_class is \"3\"");
    lightgbm(
        "\nfeature_names",
        "\naverage_output\nfeature_names",
        "averaged (boosting rf)",
    );
    lightgbm(
        "num_cat=0",
        "num_cat=1",
        "tree 0, line 11: the tree has splits by categories",
    );
    lightgbm(
        "is_linear=0",
        "is_linear=1",
        "linear leaves, which are not read; train without linear_tree",
    );
    lightgbm(
        "type=8 8",
        "type=8 9",
        "tree 0, node 1, line 9: the node splits by categories",
    );
    lightgbm("type=8 8", "type=8 12", "12 is no decision_type");
    check_refused("", "neither a JSON object nor");
    check_refused("[1]", "save the model with booster.save_model");
    check_refused(b"\x80\x04", "binary, as XGBoost's UBJSON");
    check_refused(
        b"{L\0\0\0\0\0\0\0\x07learner{",
        "save the model with booster.save_model",
    );
    check_refused(vec![b' '; BYTES_MAX + 1], "at most 16777216 are read");
}

#[test]
fn trees_that_contradict_themselves_are_refused() {
    let xgboost = |nodes: &[XgboostNode], expected: &str| {
        check_refused(xgboost_model(&[xgboost_tree(nodes)]), expected);
    };
    let leaf = (-1, -1, 1.0, 0, 0);
    xgboost(
        &[(0, 1, 1.0, 0, 0), leaf],
        "tree 0, node 0: two links lead to this node",
    );
    xgboost(&[(1, 1, 1.0, 0, 0), leaf], "tree 0, node 1: two links");
    xgboost(&[(1, 2, 1.0, 0, 0), (2, 0, 1.0, 0, 0), leaf], "two links");
    xgboost(
        &[(1, 5, 1.0, 0, 0), leaf],
        "node 5: a link leads to this node, but the tree has 2",
    );
    xgboost(
        &[(1, -1, 1.0, 0, 0), leaf],
        "the node has the children 1 and -1",
    );
    xgboost(
        &[(1, 2, 1.0, 9, 0), leaf, leaf],
        "compares feature 9, but the model has 2",
    );
    xgboost(&[(-1, -1, 1e31, 0, 0)], "and at most 1e30 is allowed");
    xgboost(&[], "node 0: a link leads to this node, but the tree has 0");
    check_refused(xgboost_model(&[]), "the model has no trees");
    let one = |from: &str, to: &str| small_xgboost().replace(from, to);
    check_refused(one("[1e1,", "[1e39,"), "`1e39` is no number of 32 bits");
    check_refused(one("[1e1,", "[\"1e1\","), "is no number of 32 bits");
    check_refused(
        one("[1e1,", "[NaN,"),
        "line 1: this is no model that XGBoost saved",
    );
    check_refused(
        one("[1e1,", "["),
        "5 elements in left_children and 4 in split_conditions",
    );
    check_refused(one("\"learner\"", "\"loser\""), "missing field `learner`");
    let lightgbm = |from: &str, to: &str, expected: &str| {
        let model = small_lightgbm(8, "1");
        assert!(model.contains(from), "{from}");
        check_refused(model.replace(from, to), expected);
    };
    lightgbm(
        "left_child=-1 -2",
        "left_child=-1 0",
        "node 0, line 9: two links lead to this node",
    );
    lightgbm(
        "left_child=-1 -2",
        "left_child=-1 2",
        "node 5, line 9: a link leads",
    );
    lightgbm(
        "left_child=-1 -2",
        "left_child=-1 -9",
        "a link leads to this node, but the tree has 5",
    );
    lightgbm(
        "left_child=-1 -2",
        "left_child=-1",
        "line 15: `left_child` has not 2 numbers",
    );
    lightgbm(
        "threshold=1 ",
        "threshold=nan ",
        "line 13: `threshold` has NaN, and only numbers are read",
    );
    lightgbm(
        "leaf_value=0.5",
        "leaf_value=inf",
        "`leaf_value` has inf, and only finite numbers are read",
    );
    lightgbm("leaf_value=0.5", "leaf_value=x", "\"x\" is no number");
    lightgbm("num_leaves=3", "num_leaves=0", "0 leaves, and 1 to");
    lightgbm(
        "num_leaves=3",
        "num_leaves=99999999999",
        "99999999999 leaves",
    );
    lightgbm(
        "split_feature=0 1",
        "split_feature=0 2",
        "compares feature 2, but the model has 2",
    );
    lightgbm(
        "max_feature_idx=1",
        "max_feature_idx=4",
        "2 names, but max_feature_idx is 4",
    );
    lightgbm(
        "Tree=0",
        "Tree=1",
        "tree 0, line 9: here begins another tree: \"Tree=1\"",
    );
    lightgbm(
        "end of trees",
        "",
        "the file ends before the line `end of trees`",
    );
    lightgbm(
        "num_cat=0",
        "num_leaves=3",
        "another line for \"num_leaves\"",
    );
    lightgbm("threshold=1 -3\n", "", "the line `threshold=` is missing");
}

/// A tree of one feature whose splits hang one below the other.
fn chain(depth: i32) -> String {
    let mut nodes = Vec::new();
    for level in 0..depth {
        nodes.push((2 * level + 1, 2 * level + 2, level as f32, 0, 0));
        nodes.push((-1, -1, 1.0, 0, 0));
    }
    nodes.push((-1, -1, 2.0, 0, 0));
    xgboost_tree(&nodes)
}

#[test]
fn bounds_hold_exactly() {
    let steps = i32::try_from(STEPS_MAX).expect("it fits");
    let deepest = xgboost_model(&[chain(steps)]);
    check_margins(&deepest, &[([Some(i64::MAX), None], 2.0)]);
    check_refused(
        xgboost_model(&[chain(steps), chain(1)]),
        "tree 1: the depths of all trees up to here exceed 65536; train with fewer",
    );
    let leaf = xgboost_tree(&[(-1, -1, 0.5, 0, 0)]);
    let most = xgboost_model(&vec![leaf.clone(); TREES_MAX]);
    check_margins(&most, &[([None, None], 2_048.0)]);
    check_refused(
        xgboost_model(&vec![leaf; TREES_MAX + 1]),
        "a list of at most 4096 elements",
    );
    let mut names = String::new();
    for number in 0..=FEATURES_MAX {
        write!(names, " f{number}").expect("a string");
    }
    check_refused(
        small_lightgbm(8, "1").replace("feature_names=a b", &format!("feature_names={names}")),
        "more than 1024 features",
    );
    let tree = small_lightgbm(8, "1");
    let (header, tree) = tree.split_once("\nTree=0\n").expect("a tree");
    let (tree, _) = tree.split_once("end of trees").expect("an end");
    let mut many = header.to_owned();
    for number in 0..=TREES_MAX {
        write!(many, "\nTree={number}\n{tree}").expect("a string");
    }
    many.push_str("end of trees\n");
    check_refused(many, "tree 4096, line");
}

/// Numbers that a careless reader trips over.
const NUMBERS: [&str; 14] = [
    "-1",
    "0",
    "1",
    "2",
    "255",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967296",
    "1e38",
    "-1e999",
    "1e-400",
    "99999999999999999999",
    "nan",
];

/// Replaces the number at or behind a place of the text.
fn replace_number(text: &str, place: usize, number: &str) -> String {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let bytes = text.as_bytes();
    let start = (place..bytes.len()).find(|place| bytes[*place].is_ascii_digit());
    let start = start.unwrap_or(bytes.len());
    let end = (start..bytes.len()).find(|place| !is_part(bytes[*place]));
    let end = end.unwrap_or(bytes.len());
    format!("{}{number}{}", &text[..start], &text[end..])
}

/// A change to a file: a byte replaced, the rest cut off, a number replaced, or a part repeated.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Number(prop::sample::Index, usize),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(place, byte)| Change::Byte(place, byte)),
        1 => place().prop_map(Change::Cut),
        12 => (place(), 0..NUMBERS.len()).prop_map(|(place, number)| Change::Number(place, number)),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn apply(bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let mut bytes = bytes;
    match change {
        Change::Byte(place, byte) => *place.get_mut(&mut bytes) = *byte,
        Change::Cut(place) => bytes.truncate(place.index(bytes.len())),
        Change::Number(place, number) => {
            if let Ok(text) = std::str::from_utf8(&bytes)
                && text.is_ascii()
            {
                bytes =
                    replace_number(text, place.index(text.len()), NUMBERS[*number]).into_bytes();
            }
        }
        Change::Repeat(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(to..to, part);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn no_file_makes_the_reader_or_the_score_panic(
        source in 0..4usize,
        changes in prop::collection::vec(change(), 1..4),
        row in prop::collection::vec(prop::option::of(prop_oneof![any::<i64>(), -20..20i64]), 8),
    ) {
        let small = [small_xgboost(), small_lightgbm(6, "1")];
        let bytes = [XGBOOST, LIGHTGBM, &small[0], &small[1]][source].as_bytes().to_vec();
        let bytes = changes.iter().fold(bytes, apply);
        if let Ok(model) = Model::read(&bytes) {
            let mut row = row;
            row.resize(model.features().len(), None);
            prop_assert!(model.score(&row) <= SCORE_MAX);
            prop_assert!(model.margin(&row).is_finite());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for start in ["", "{", "tree\n", "tree\nTree=0\n"] {
            prop_assert!(Model::read(&[start.as_bytes(), &bytes].concat()).is_err());
        }
    }
}

#[test]
fn every_prefix_of_a_model_is_refused_or_complete() {
    for model in [XGBOOST, LIGHTGBM, &small_xgboost(), &small_lightgbm(8, "1")] {
        let trimmed = model.trim_end();
        let end = trimmed
            .find("end of trees")
            .map_or(trimmed.len(), |place| place + 12);
        for length in 0..end {
            assert!(
                Model::read(&model.as_bytes()[..length]).is_err(),
                "{length}"
            );
        }
        assert!(Model::read(&model.as_bytes()[..end]).is_ok());
    }
}
