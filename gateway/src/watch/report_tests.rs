use proptest::prelude::*;

use super::*;

fn report(running: u32, waiting: u32, cache_permille: impl Into<Option<u16>>) -> Option<Report> {
    Some(Report { running, waiting, cache_permille: cache_permille.into() })
}

#[test]
fn the_engines_of_a_vllm_are_added_up_and_its_fullest_cache_counts() {
    let page = r#"
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 11340.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta/llama-3.1-8b-instruct"} 7.0
vllm:num_requests_running{engine="1",model_name="meta/llama-3.1-8b-instruct"} 5.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="meta/llama-3.1-8b-instruct"} 3.0
vllm:num_requests_waiting{engine="1",model_name="meta/llama-3.1-8b-instruct"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="meta/llama-3.1-8b-instruct"} 0.8125
vllm:kv_cache_usage_perc{engine="1",model_name="meta/llama-3.1-8b-instruct"} 0.25
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="meta/llama-3.1-8b-instruct"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="meta/llama-3.1-8b-instruct"} 12.0
"#;
    assert_eq!(read(page.as_bytes()), report(12, 3, 813));
}

#[test]
fn of_those_that_wait_in_a_new_vllm_the_ones_without_room_count_and_none_twice() {
    let page = r#"
vllm:num_requests_running{engine="0",model_name="m"} 20.0
vllm:num_requests_waiting{engine="0",model_name="m"} 9.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="deferred"} 5.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters="a,b"} 1.7631e+09
"#;
    assert_eq!(read(page.as_bytes()), report(20, 4, None));
}

#[test]
fn an_old_vllm_and_an_exporter_without_colons_are_read_alike() {
    let page = "vllm_num_requests_running{model_name=\"m\"} 2\nvllm_num_requests_waiting{model_name=\"m\"} 1\n\
                vllm_gpu_cache_usage_perc{model_name=\"m\"} 0.5 1763784000000\n";
    assert_eq!(read(page.as_bytes()), report(2, 1, 500));
}

#[test]
fn nims_of_the_first_generation_have_names_of_their_own() {
    let page = "# TYPE num_requests_running gauge\nnum_requests_running 4.0\nnum_requests_waiting 11.0\n\
                num_request_max 2048.0\ngpu_cache_usage_perc 0.999\nrequest_success_total 90.0\n";
    assert_eq!(read(page.as_bytes()), report(4, 11, 999));
}

#[test]
fn one_server_is_read_where_a_page_has_the_names_of_two() {
    let page = "num_requests_running 4\nnum_requests_waiting 2\nvllm:num_requests_running{engine=\"0\"} 4\n\
                vllm:num_requests_waiting{engine=\"0\"} 2\n";
    assert_eq!(read(page.as_bytes()), report(4, 2, None));
}

#[test]
fn sglang_llama_cpp_and_tgi_are_read() {
    let page = "sglang:num_running_reqs{model_name=\"m\",tp_rank=\"0\"} 13.0\nsglang:num_queue_reqs{model_name=\"m\"} 2.0\n\
                sglang:token_usage{model_name=\"m\"} 0.28\n";
    assert_eq!(read(page.as_bytes()), report(13, 2, 280));
    let page = "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 1\n\
                llamacpp:requests_deferred 6\nllamacpp:prompt_tokens_total 1024\n";
    assert_eq!(read(page.as_bytes()), report(1, 6, None));
    let page = "tgi_batch_current_size 8\ntgi_queue_size 3\n";
    assert_eq!(read(page.as_bytes()), report(8, 3, None));
}

#[test]
fn of_a_triton_those_that_are_there_and_not_scheduled_wait() {
    let page = r#"
nv_inference_request_success{model="ensemble",version="1"} 210
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 16
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 21
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.4
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6239
"#;
    assert_eq!(read(page.as_bytes()), report(16, 5, 400));
}

#[test]
fn labels_may_hold_braces_quotes_and_spaces() {
    let page = r#"
vllm:num_requests_running{model_name="a } \" b, reason=\"capacity\" {",engine="0"} 3
vllm:num_requests_waiting_by_reason{ model_name="x,reason=", reason = "capacity" } 2
"#;
    assert_eq!(read(page.as_bytes()), report(3, 2, None));
}

#[test]
fn what_is_not_a_number_of_requests_is_passed_over() {
    let page = "vllm:num_requests_running NaN\nvllm:num_requests_running -3\nvllm:num_requests_running +Inf\n\
                vllm:num_requests_running\nvllm:num_requests_running{engine=\"0\" 5\nvllm:num_requests_running 1e30\n\
                vllm:kv_cache_usage_perc 7\n";
    assert_eq!(read(page.as_bytes()), report(u32::MAX, 0, 1000));
    for page in ["", "[{\"numActiveRequests\": 3}]", "<html></html>", "vllm:num_requests_runningx 3\n"] {
        assert_eq!(read(page.as_bytes()), None, "{page}");
    }
    assert_eq!(read(b"\xff\xfe\nvllm:num_requests_running 2\n"), report(2, 0, None));
}

proptest! {
    #[test]
    fn no_page_is_a_reason_to_panic(page in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&page);
    }

    #[test]
    fn nor_is_one_that_is_nearly_right(rest in "[ -~\\\\\"{}=,]{0,40}") {
        let _ = read(format!("vllm:num_requests_waiting_by_reason{{reason={rest}").as_bytes());
    }
}
