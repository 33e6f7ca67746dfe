//! `limits:` — bounds on everything. Every one can be moved, none can be switched off.

use std::time::Duration;

use crate::forms::Form;

macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, $min:expr, $max:expr, $doc:literal;)*) => {
        /// Bounds of the data plane.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits { $(#[doc = $doc] pub $name: $type,)* }

        impl Default for Limits {
            fn default() -> Self { Limits { $($name: $default,)* } }
        }

        impl Limits {
            pub(super) fn read(form: &Form<'_>) -> Limits {
                $(
                    let $name: $type = form.value(stringify!($name), $doc).or($default);
                    if !($min..=$max).contains(&$name) {
                        form.wrong(stringify!($name), format!("{:?} is not between {:?} and {:?}", $name, $min, $max), None);
                    }
                )*
                Limits { $($name,)* }
            }
        }
    };
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MS: Duration = Duration::from_millis(1);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

limits! {
    connections: usize = 10_000, 1, 1_000_000, "Open client connections.";
    connections_per_address: usize = 1_000, 1, 1_000_000, "Open connections of one client address.";
    tls_handshake: Duration = secs(10), MS, secs(60), "Time for a TLS handshake.";
    header_time: Duration = secs(10), MS, secs(300), "Time for a whole request header, from its first byte or from accept.";
    idle_connection: Duration = secs(60), MS, secs(3600), "Time that a kept connection may lie idle.";
    write_stall: Duration = secs(30), MS, secs(3600), "Time that a client may take nothing of what is sent to it.";
    request_line: usize = 16 * KIB, 256, MIB, "Bytes of a request line.";
    header_field: usize = 24 * KIB, 256, MIB, "Bytes of one header field.";
    header_bytes: usize = 64 * KIB, KIB, 4 * MIB, "Bytes of all header fields.";
    header_count: usize = 100, 8, 1_000, "Header fields of a request.";
    small_chunks: u32 = 10_000, 1, 10_000_000, "Chunks of less than 64 bytes of an HTTP/1 client on one connection in 10 s.";
    request_body: usize = 100 * MIB, 1, 64 * 1024 * MIB, "Bytes of a request body.";
    request_body_max: usize = 1024 * MIB, 1, 64 * 1024 * MIB, "The most `max_request_bytes` that an endpoint may ask for.";
    body_progress: Duration = secs(15), MS, secs(3600), "Time without a byte of the request body.";
    requests_per_endpoint: usize = 1_000, 1, 1_000_000, "Requests in flight for one endpoint. Needs a restart.";
    requests_per_second: u32 = 100_000, 1, 10_000_000, "Requests to one endpoint in a second; an endpoint's `rate_limit` may say otherwise.";
    requests_per_second_per_principal: u32 = 100_000, 1, 10_000_000, "Requests of one caller to one endpoint in a second, likewise.";
    connect: Duration = secs(1), MS, secs(60), "Time to connect to an instance.";
    replay_body: usize = 64 * KIB, 1, 16 * MIB, "Bytes of a request body kept until an HTTP/2 instance begins to answer, to send the request once more if it is refused.";
    response_idle: Duration = secs(60), MS, secs(3600), "Time without a byte of an instance's response.";
    request_total: Duration = secs(180), MS, secs(24 * 3600), "Time for a whole request, streams included.";
    request_total_max: Duration = secs(3600), MS, secs(24 * 3600), "The longest `timeouts.total_ms` a deployment may ask for.";
    request_timeout_max: Duration = secs(180), MS, secs(24 * 3600), "The longest `request_timeout_ms` a deployment may ask for.";
    batch_timeout_max: Duration = secs(3600), MS, secs(24 * 3600), "The longest time for one try of a mini-batch that a batch deployment may ask for.";
    response_header_bytes: usize = 64 * KIB, KIB, 4 * MIB, "Bytes of an instance's response header.";
    response_header_count: usize = 200, 8, 1_000, "Header fields of an instance's response.";
    queue_wait_max: Duration = secs(60), MS, secs(3600), "The longest `max_queue_wait_ms` that counts.";
    instance_requests: u32 = 10_000, 1, 1_000_000, "Requests that one instance works on at once, whatever its deployment says.";
    eject_failures: u32 = 5, 1, 10_000, "Failures in a row after which an instance gets no requests, unless it is the last.";
    eject_time: Duration = secs(5), MS, secs(3600), "Time after which an instance that failed is tried again; doubled each time.";
    eject_time_max: Duration = secs(300), MS, secs(24 * 3600), "The longest such time.";
    eject_window: Duration = secs(10), MS, secs(3600), "Time over which instances' failures are compared. Needs a restart.";
    warm_up: Duration = secs(10), MS, secs(3600), "Time in which an instance that came back is spared.";
    dns_refresh: Duration = secs(5), MS, secs(3600), "Time between look-ups of a deployment's name. Needs a restart.";
    restart_pause: Duration = secs(1), MS, secs(600), "Time before a local instance that ended is started again; doubled each time. Needs a restart.";
    restart_pause_max: Duration = secs(60), MS, secs(3600), "The longest such time, and how long one has to run for it to be forgotten. Needs a restart.";
    process_stop: Duration = secs(10), MS, secs(600), "Time for a local instance to end by itself before it is killed. Needs a restart.";
    instance_output: usize = 256 * KIB, KIB, 64 * MIB, "Bytes kept of what a local instance wrote. Needs a restart.";
    idle_instance_connections: usize = 256, 1, 100_000, "Idle connections kept to one instance by each worker.";
    idle_instance_time: Duration = secs(4), MS, secs(3600), "Time that an idle connection to an instance is kept; servers commonly close theirs after 5 s.";
    http2_streams: u32 = 100, 1, 10_000, "Concurrent streams of an HTTP/2 connection.";
    http2_stream_window: u32 = 64 * 1024, 1_024, 16 << 20, "Flow-control window of an HTTP/2 stream.";
    http2_connection_window: u32 = 1 << 20, 65_535, 64 << 20, "Flow-control window of an HTTP/2 connection.";
    http2_pending_resets: usize = 20, 1, 1_000, "Streams reset by a client before they were taken up.";
    http2_client_errors: usize = 200, 1, 10_000, "Stream errors made by a client on one connection.";
    http2_resets: u32 = 200, 1, 100_000, "Streams reset by a client on one connection in 10 s.";
    http2_control_frames: u32 = 1_000, 16, 1_000_000, "Frames of a client on one connection in 10 s that move neither a body nor an answer.";
    http2_continuations: u32 = 16, 1, 1_000, "CONTINUATION frames of one header block.";
    token_cache_bytes: usize = 32 * MIB, 64 * KIB, 16 * 1024 * MIB, "Memory for validated tokens.";
    jwks_refresh: Duration = secs(3600), secs(1), secs(24 * 3600), "Time between refreshes of an issuer's keys.";
    jwks_cool_down: Duration = secs(30), MS, secs(3600), "Least time between refreshes for unknown key ids.";
    jwks_max_stale: Duration = secs(24 * 3600), secs(1), secs(30 * 24 * 3600), "Time that keys stay in use while their issuer is unreachable.";
    group_cache: Duration = secs(300), MS, secs(300), "Time that looked-up groups are kept.";
    failed_authentications: u32 = 100, 1, 1_000_000, "Failed authentications of one client address in 10 s before they are answered 429.";
    store_connections: u32 = 8, 1, 1_000, "Connections to a PostgreSQL store, besides the one that listens for changes. Needs a restart.";
    store_time: Duration = secs(20), secs(1), secs(300), "Time for a PostgreSQL store to do one thing. Needs a restart.";
    snapshot_max_age: Duration = secs(900), secs(1), secs(24 * 3600), "Time that the data plane goes on while the store is unreachable. Needs a restart.";
    drain_notice: Duration = secs(5), Duration::ZERO, secs(600), "Time after SIGTERM in which the gateway is not ready and still accepts, so that balancers notice.";
    drain: Duration = secs(30), MS, secs(3600), "Time for requests in flight to finish after that.";
    mirror_body: usize = MIB, 1, 1024 * MIB, "Bytes of a request body that may be copied for a shadow deployment.";
    mirror_bytes: usize = 64 * MIB, 1, 64 * 1024 * MIB, "Memory for copies in all, and for answers that are compared; what does not fit is not copied.";
    mirror_requests: usize = 64, 1, 100_000, "Copies at work at once; what is more is not copied.";
    mirror_compare: usize = 256 * KIB, 1, 16 * MIB, "Bytes of a JSON answer that is compared with a shadow's.";
    mirror_answer: usize = 16 * MIB, 1, 1024 * MIB, "Bytes read of a shadow's answer before it is broken off.";
    batch_jobs: usize = 1_000, 1, 1_000_000, "Batch jobs that have not ended.";
    batch_leads: usize = 16, 1, 1_000, "Batch jobs that this gateway leads at once.";
    batch_mini_batches: usize = 32, 1, 10_000, "Mini-batches that this gateway works on at once, of all jobs.";
    batch_request_bytes: usize = 16 * MIB, KIB, 1024 * MIB, "Bytes of a request that rows are packed into.";
    batch_answer_bytes: usize = 64 * MIB, KIB, 1024 * MIB, "Bytes of a model's answer to a request of a job.";
    batch_lease: Duration = secs(10), secs(1), secs(600), "Time after which another gateway takes up what this one was working on, if it is gone. The clocks of gateways of one store must not differ by more than half of it.";
    batch_patience: Duration = secs(600), secs(1), secs(24 * 3600), "Time without a mini-batch's end after which a job fails.";
    control_body: usize = MIB, KIB, 64 * MIB, "Bytes of a control-plane request body.";
    control_time: Duration = secs(30), MS, secs(600), "Time for a control-plane operation.";
    control_operations: usize = 512, 1, 100_000, "Control-plane operations that are worked on at once.";
    refusals: u32 = 100, 1, 1_000_000, "Refused operations of one principal in 10 s before they are answered 429 and not recorded.";
    workspaces: usize = 1_000, 1, 100_000, "Workspaces made through the API.";
    assets: usize = 10_000, 1, 1_000_000, "Versions of models and environments.";
    endpoints: usize = 20_000, 1, 1_000_000, "Endpoints, online and batch together.";
    deployments_per_endpoint: usize = 20, 1, 1_000, "Deployments of one endpoint.";
    instances_per_deployment: usize = 50, 1, 10_000, "Instances of one deployment.";
    datastores: usize = 1_000, 1, 100_000, "Data stores.";
    role_assignments: usize = 200_000, 1, 10_000_000, "Role assignments.";
    role_definitions: usize = 5_000, 1, 100_000, "Custom roles.";
    aml_token_life: Duration = secs(3600), secs(1), secs(24 * 3600), "Life of a token that the gateway issues for an endpoint.";
    token_key_life: Duration = secs(30 * 24 * 3600), secs(3600), secs(366 * 24 * 3600), "Time after which such tokens are signed by a new key.";
    batch_files: usize = 1_000_000, 1, 100_000_000, "Files of a batch job's input.";
    batch_bytes: usize = 1024 * 1024 * MIB, 1, 1024 * 1024 * 1024 * MIB, "Bytes of a batch job's input, and of any one file of it.";
    batch_file_bytes: usize = 100 * MIB, 1, 64 * 1024 * MIB, "Bytes of a file that is one request.";
    batch_row_bytes: usize = MIB, KIB, 1024 * MIB, "Bytes of a row of a table.";
    batch_row_group_bytes: usize = 512 * MIB, KIB, 64 * 1024 * MIB, "Bytes of a row group of a Parquet file, packed or unpacked.";
    batch_fetches: usize = 4, 1, 1_000, "Reads from stores and hosts at once for one batch job.";
    batch_connect: Duration = secs(10), MS, secs(60), "Time to connect to a store or host for a batch job.";
    batch_idle: Duration = secs(60), MS, secs(3600), "Time without a byte from a store or host.";
    explained_requests: usize = 10_000, 1, 1_000_000, "Scoring requests that `auth why` can still explain. Needs a restart.";
}
