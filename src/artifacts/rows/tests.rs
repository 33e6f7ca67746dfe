use ::parquet::arrow::ArrowWriter;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::super::source::name;
use super::*;

const MOST: usize = 1024;

/// The rows of a file, which comes in one piece, and the most bytes that one step made of it.
async fn all(file: &str, bytes: Vec<u8>, shape: Shape) -> (Vec<Row>, usize) {
    let (store, size) = (InMemory::new(), bytes.len() as u64);
    store.put(&name(file).unwrap(), bytes.into()).await.unwrap();
    let table = Table {
        source: Source::Objects(Arc::new(store)),
        file: FileRef { path: file.to_owned(), name: file.to_owned(), size },
        shape,
        limits: Arc::new(Limits { batch_row_bytes: MOST, ..Limits::default() }),
        fetches: Arc::new(Semaphore::new(1)),
        batch: 10_000,
    };
    let mut rows = Rows::open(table).await.unwrap();
    let (mut found, mut step, mut largest) = (Vec::new(), VecDeque::new(), 0);
    while rows.more(&mut step).await.unwrap() {
        largest = largest.max(step.iter().map(|row| row.json.len()).sum());
        found.extend(step.drain(..));
    }
    (found, largest)
}

#[tokio::test]
async fn a_small_file_that_makes_large_rows_is_taken_in_steps() {
    let column = "c".repeat(500);
    for end in ["\n", "\r\n"] {
        let text = format!("{column}{end}{}", format!("1{end}").repeat(1000));
        let (rows, largest) = all("rows.csv", text.into_bytes(), Shape::Object).await;
        assert!(largest < 2 * MOST, "{largest}");
        assert!(rows.iter().map(|row| row.line).eq((2..=1001).map(Some)));
        assert!(rows.iter().all(|row| row.json == format!("{{\"{column}\":1}}").into_bytes()));
    }

    let first: Vec<String> = (0..100).map(|at| format!("\"c{at}\":1")).collect();
    let text = format!("{{{}}}\n{}", first.join(","), "{}\n".repeat(1000));
    let (rows, largest) = all("rows.jsonl", text.into_bytes(), Shape::Array).await;
    assert!(largest < 3 * MOST, "{largest}");
    assert!(rows.iter().map(|row| row.line).eq((1..=1001).map(Some)));
    assert!(rows.iter().skip(1).all(|row| row.json.len() == 100 * 5 + 1));
}

#[tokio::test]
async fn a_value_that_stands_in_every_row_of_parquet_is_unpacked_in_steps() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(10_000); 1000]));
    let batch = RecordBatch::try_from_iter([("a", text)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    assert!(file.len() < 100_000, "it is there once: {}", file.len());
    let (rows, largest) = all("rows.parquet", file, Shape::Array).await;
    assert_eq!(rows.len(), 1000);
    assert!(largest < MOST + 17 * 10_010, "{largest}");
}
