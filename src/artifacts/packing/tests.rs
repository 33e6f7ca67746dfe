use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::*;
use crate::artifacts::input::Input;
use crate::artifacts::location::Location;
use crate::artifacts::source::{Source, name};
use crate::model::scope::WorkspaceRef;
use crate::settings::Limits;
use crate::store::jobs::FileRef;

/// An input that holds one file, and the file.
async fn input(file: &str, bytes: impl Into<Bytes>, limits: Limits) -> (Input, FileRef) {
    let (store, bytes) = (InMemory::new(), bytes.into());
    let size = bytes.len() as u64;
    store.put(&name(file).unwrap(), bytes.into()).await.unwrap();
    let workspace =
        WorkspaceRef { subscription: "s".to_owned(), resource_group: "g".to_owned(), name: "w".to_owned() };
    let at = Location::parse("azureml://datastores/d/paths/", &workspace).unwrap();
    // The smallest chunks, so that everything is cut somewhere.
    let chunked = object_store::chunked::ChunkedStore::new(Arc::new(store), 3);
    let input = Input::new(Source::Objects(Arc::new(chunked)), String::new(), at, Arc::new(limits));
    (input, FileRef { path: file.to_owned(), name: format!("n/{file}"), size })
}

fn how(format: RequestFormat, rows_per_request: u32) -> Packing {
    Packing { format, rows_per_request, most: 1 << 20 }
}

async fn packed(file: &str, bytes: impl Into<Bytes>, how: Packing) -> Result<Vec<Packed>, FileError> {
    let (input, file) = input(file, bytes, Limits::default()).await;
    let packed: Vec<Packed> = input.requests(&file, how).try_collect().await?;
    let read: u64 = packed.iter().map(|request| request.read).sum();
    assert!(packed.is_empty() || (read > 0 && read <= file.size), "{read} of {}", file.size);
    Ok(packed)
}

async fn bodies(file: &str, bytes: impl Into<Bytes>, how: Packing) -> Vec<String> {
    let packed = packed(file, bytes, how).await.unwrap();
    packed.into_iter().map(|request| String::from_utf8(request.body.to_vec()).unwrap()).collect()
}

const CSV: &str = "age,name,ok\r\n1.50,\"a, \"\"b\"\"\",True\r\n,x,false\r\n\r\n-3e2,\"two\nlines\",\r\n";

#[tokio::test]
async fn rows_become_the_request_that_each_server_reads() {
    assert_eq!(
        bodies("rows.csv", CSV, how(RequestFormat::DataframeSplit, 2)).await,
        [
            r#"{"dataframe_split":{"columns":["age","name","ok"],"data":[[1.50,"a, \"b\"",true],[null,"x",false]]}}"#,
            r#"{"dataframe_split":{"columns":["age","name","ok"],"data":[[-3e2,"two\nlines",null]]}}"#,
        ]
    );
    assert_eq!(
        bodies("rows.CSV", CSV, how(RequestFormat::InputData, 2)).await,
        [
            r#"{"input_data":{"columns":["age","name","ok"],"data":[[1.50,"a, \"b\"",true],[null,"x",false]],"index":[0,1]}}"#,
            r#"{"input_data":{"columns":["age","name","ok"],"data":[[-3e2,"two\nlines",null]],"index":[2]}}"#,
        ]
    );
    let object = r#"{"age":1.50,"name":"a, \"b\"","ok":true}"#;
    assert_eq!(
        bodies("rows.csv", CSV, how(RequestFormat::Instances, 1)).await[0],
        format!("{{\"instances\":[{object}]}}")
    );
    assert_eq!(bodies("rows.csv", CSV, how(RequestFormat::Jsonl, 1)).await[0], format!("{object}\n"));
    let lines = bodies("rows.csv", CSV, how(RequestFormat::Jsonl, 10)).await;
    assert_eq!((lines.len(), lines[0].lines().count()), (1, 3));
    let tabs = CSV.replace(",\"", "\t\"").replace(",x,", "\tx\t").replace(",name,", "\tname\t");
    let tabs = tabs.replace("\",", "\"\t");
    assert_eq!(
        bodies("rows.tsv", tabs, how(RequestFormat::DataframeSplit, 2)).await,
        bodies("rows.csv", CSV, how(RequestFormat::DataframeSplit, 2)).await
    );
}

#[tokio::test]
async fn how_rows_are_packed_changes_no_row() {
    let mut text = "a,b\n".to_owned();
    for row in 0..997 {
        text.push_str(&format!("{row},{}\n", if row % 7 == 0 { "x" } else { "1.0" }));
    }
    let mut all = Vec::new();
    for size in [1, 2, 3, 10, 996, 997, 998, 100_000] {
        let packed = packed("rows.csv", text.clone(), how(RequestFormat::Instances, size)).await.unwrap();
        assert!(packed.iter().all(|request| request.rows.unwrap() <= size));
        let mut rows = Vec::new();
        for request in &packed {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let found = body["instances"].as_array().unwrap().clone();
            assert_eq!(found.len(), request.rows.unwrap() as usize);
            rows.extend(found);
        }
        all.push(rows);
    }
    assert!(all.iter().all(|rows| rows == &all[0] && rows.len() == 997));
}

#[tokio::test]
async fn a_request_is_never_larger_than_it_may_be() {
    let text = format!("a\n{}", "0123456789\n".repeat(100));
    for format in [
        RequestFormat::InputData,
        RequestFormat::DataframeSplit,
        RequestFormat::Instances,
        RequestFormat::Jsonl,
    ] {
        let how = Packing { format, rows_per_request: 1000, most: 200 };
        let packed = packed("rows.csv", text.clone(), how).await.unwrap();
        assert!(packed.len() > 1 && packed.iter().all(|request| request.body.len() <= 200), "{format:?}");
        assert_eq!(packed.iter().map(|request| request.rows.unwrap()).sum::<u32>(), 100);
    }
    let how = Packing { format: RequestFormat::Jsonl, rows_per_request: 1000, most: 30 };
    let error = packed("rows.csv", format!("a\n1\n{}\n", "x".repeat(50)), how).await.unwrap_err();
    assert_eq!(error.code(), "RowTooLarge");
    assert!(error.to_string().contains("`n/rows.csv` line 3"), "{error}");
}

#[tokio::test]
async fn json_lines_are_sent_as_they_came() {
    let text = "{\"a\": 1.10, \"b\": \"x\"}\r\n\n{\"b\": [1e400], \"a\": null}\n{\"a\": 2}";
    assert_eq!(
        bodies("rows.jsonl", text, how(RequestFormat::Instances, 10)).await,
        ["{\"instances\":[{\"a\": 1.10, \"b\": \"x\"},{\"b\": [1e400], \"a\": null},{\"a\": 2}]}"]
    );
    assert_eq!(
        bodies("rows.ndjson", text, how(RequestFormat::DataframeSplit, 10)).await,
        ["{\"dataframe_split\":{\"columns\":[\"a\",\"b\"],\"data\":[[1.10,\"x\"],[null,[1e400]],[2,null]]}}"]
    );
    for (text, line, what) in [
        ("{\"a\": 1}\n[1]\n", 2, "not a JSON object"),
        ("{\"a\": 1}\n{\"a\": 1,}\n", 2, "not a JSON object"),
        ("{\"a\": 1}\n{\"a\": 1} x\n", 2, "not a JSON object"),
        ("{\"a\": 1}\n\n{\"c\": 1}\n", 3, "the first line has not"),
        ("{\"a\": 1, \"a\": 2}\n", 1, "stands there twice"),
        ("{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n", 2, "stands there twice"),
    ] {
        let error = packed("rows.jsonl", text, how(RequestFormat::InputData, 1)).await.unwrap_err();
        let told = error.to_string();
        assert!(error.code() == "NotThatFormat" && !error.is_transient(), "{told}");
        assert!(told.contains(&format!("`n/rows.jsonl` line {line}: ")) && told.contains(what), "{told}");
    }
}

#[tokio::test]
async fn what_is_no_csv_says_where_and_what() {
    for (text, line, what) in [
        ("a,b\n1,2\n3\n", 3, "1 cells"),
        ("a,b\n1,2,3\n", 2, "3 cells"),
        ("a,b\n\"1\n\n\",2\n3\n", 5, "1 cells"),
        ("a,b\n1,x\"y\n", 2, "middle of a cell"),
        ("a,b\n1,\"x\" y\n", 2, "ends a cell"),
        ("a,b\n1,2\n3,\"x\n\n", 3, "never ends"),
        ("a,b\r1,2\r", 1, "carriage return"),
        ("a,a\n1,2\n", 1, "stands there twice"),
        ("\"", 1, "never ends"),
    ] {
        let error = packed("rows.csv", text, how(RequestFormat::Instances, 1)).await.unwrap_err();
        let told = error.to_string();
        assert!(error.code() == "NotThatFormat" && told.contains(what), "{text:?}: {told}");
        assert!(told.contains(&format!("`n/rows.csv` line {line}: ")), "{text:?}: {told}");
    }
    let error =
        packed("rows.csv", &b"a,b\n1,\xff\n"[..], how(RequestFormat::Instances, 1)).await.unwrap_err();
    assert!(error.to_string().contains("line 2: it is not UTF-8"), "{error}");
    let error = packed("rows.csv", " ", how(RequestFormat::Instances, 1)).await;
    assert_eq!(error.unwrap(), [], "a header without rows is a table without rows");
    let (empty, file) = input("rows.csv", "", Limits::default()).await;
    let error = empty.requests(&file, how(RequestFormat::Instances, 1)).next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("is empty"), "{error}");
    let marked = bodies("rows.csv", "\u{feff}a\n1\n", how(RequestFormat::Instances, 1)).await;
    assert_eq!(marked, ["{\"instances\":[{\"a\":1}]}"]);
    let error = packed("image.png", "x", how(RequestFormat::Instances, 1)).await.unwrap_err();
    assert!(error.code() == "NotATable" && error.to_string().contains("request_format: raw"), "{error}");
}

#[tokio::test]
async fn a_row_without_an_end_is_not_held() {
    let limits = Limits { batch_row_bytes: 1024, ..Limits::default() };
    for (name, start) in [("rows.csv", "a\n"), ("rows.jsonl", "")] {
        let (input, file) = input(name, format!("{start}{}", "x".repeat(100_000)), limits.clone()).await;
        let error = input.requests(&file, how(RequestFormat::Jsonl, 1)).next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), "RowTooLarge", "{error}");
    }
}

#[tokio::test]
async fn a_raw_file_is_one_request_with_its_media_type() {
    for (file, media) in [
        ("a.json", "application/json"),
        ("a.JPG", "image/jpeg"),
        ("a.csv", "text/csv"),
        ("a", "application/octet-stream"),
        ("a.b.unknown", "application/octet-stream"),
    ] {
        let packed = packed(file, "bytes", how(RequestFormat::Raw, 1)).await.unwrap();
        assert_eq!(packed.len(), 1);
        assert_eq!(
            (packed[0].content_type, &packed[0].body[..], packed[0].rows),
            (media, &b"bytes"[..], None)
        );
    }
    let limits = Limits { batch_file_bytes: 4, ..Limits::default() };
    for size in [0, 5] {
        // Whether its size is known before or not.
        let (input, file) = input("a.bin", "bytes", limits.clone()).await;
        let file = FileRef { size, ..file };
        let error = input.requests(&file, how(RequestFormat::Raw, 1)).next().await.unwrap().unwrap_err();
        assert!(error.code() == "FileTooLarge" && error.to_string().contains("batch_file_bytes"), "{error}");
    }
}

/// A Parquet file of these rows, so many to a row group.
fn parquet(rows: &RecordBatch, compression: Compression, group: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

fn table() -> RecordBatch {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..7 {
        lists.values().append_value(format!("l{row}"));
        lists.append(row != 3);
    }
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (
            "int",
            Arc::new(Int64Array::from(
                (0..7).map(|row| (row != 1).then_some(row * 10_000_000_000)).collect::<Vec<_>>(),
            )),
            true,
        ),
        (
            "f64",
            Arc::new(Float64Array::from((0..7).map(|row| f64::from(row) / 10.0).collect::<Vec<_>>())),
            false,
        ),
        ("f32", Arc::new(Float32Array::from(vec![0.1_f32, f32::NAN, 1.0, 2.5, 3.0, 4.0, 5.0])), false),
        ("ok", Arc::new(BooleanArray::from(vec![true, false, true, true, false, false, true])), false),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![0; 7])), false),
        ("list", Arc::new(lists.finish()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test]
async fn parquet_is_read_however_it_is_packed() {
    let mut all = Vec::new();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(parquet::basic::GzipLevel::default()),
        Compression::ZSTD(parquet::basic::ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
    ] {
        for group in [1, 2, 7, 100] {
            let file = parquet(&table(), compression, group);
            let found = bodies("rows.parquet", file, how(RequestFormat::Instances, 3)).await;
            assert_eq!(found.len(), 3, "7 rows by 3, across row groups of {group}");
            all.push(found);
        }
    }
    assert!(all.iter().all(|found| found == &all[0]));
    let rows: Vec<Value> = all[0]
        .iter()
        .flat_map(|body| {
            serde_json::from_str::<Value>(body).unwrap()["instances"].as_array().unwrap().clone()
        })
        .collect();
    assert_eq!(
        rows[0],
        json!({"int": 0, "f64": 0.0, "f32": 0.1, "ok": true, "at": "1970-01-01T00:00:00", "list": ["l0"]})
    );
    assert_eq!(
        (&rows[1]["int"], &rows[1]["f32"], &rows[3]["list"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let split = bodies(
        "rows.parquet",
        parquet(&table(), Compression::SNAPPY, 7),
        how(RequestFormat::DataframeSplit, 100),
    )
    .await;
    assert!(
        split[0].starts_with(
            r#"{"dataframe_split":{"columns":["int","f64","f32","ok","at","list"],"data":[[0,0.0,0.1,true,"#
        ),
        "{}",
        split[0]
    );
}

#[tokio::test]
async fn broken_parquet_is_told_and_ends_nothing() {
    let sound = parquet(&table(), Compression::SNAPPY, 2);
    let mut broken: Vec<Vec<u8>> = vec![b"PAR1".to_vec(), vec![0; 100], b"PAR1xxxxPAR1".to_vec()];
    broken.push(sound[..sound.len() - 1].to_vec());
    broken.push(sound[..sound.len() / 2].to_vec());
    // A footer that claims four gigabytes.
    let mut huge = sound.clone();
    let end = huge.len();
    huge[end - 8..end - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    broken.push(huge);
    for bytes in broken {
        let error = packed("rows.parquet", bytes, how(RequestFormat::Jsonl, 10)).await.unwrap_err();
        assert!(error.code() == "NotThatFormat" && error.to_string().contains("`n/rows.parquet`"), "{error}");
    }
    // Every byte changed: an answer or an error, and never the end of the process.
    for at in (0..sound.len()).step_by(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        let _ = packed("rows.parquet", bytes, how(RequestFormat::Jsonl, 10)).await;
    }
    let limits = Limits { batch_row_group_bytes: 100, ..Limits::default() };
    let (input, file) = input("rows.parquet", sound, limits).await;
    let error = input.requests(&file, how(RequestFormat::Jsonl, 1)).next().await.unwrap().unwrap_err();
    assert!(["FileTooLarge", "NotThatFormat"].contains(&error.code()), "{error}");
}
