/* Sizes and offsets of every struct, with pointers of 64 bits. They never change. A struct only grows at its end,
 * and then its line of SIZE is the only one that changes. */
#include "rekindle.h"

#include <stddef.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define AT(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), "offset of " #type "." #field)

SIZE(rekindle_error_detail, 160);
AT(rekindle_error_detail, struct_size, 0);
AT(rekindle_error_detail, status, 4);
AT(rekindle_error_detail, device, 8);
AT(rekindle_error_detail, reserved, 12);
AT(rekindle_error_detail, needed, 16);
AT(rekindle_error_detail, available, 24);
AT(rekindle_error_detail, subject, 32);

SIZE(rekindle_context_params, 48);
AT(rekindle_context_params, struct_size, 0);
AT(rekindle_context_params, n_threads, 4);
AT(rekindle_context_params, devices, 8);
AT(rekindle_context_params, devices_len, 16);
AT(rekindle_context_params, log, 24);
AT(rekindle_context_params, log_user_data, 32);
AT(rekindle_context_params, log_level, 40);
AT(rekindle_context_params, reserved, 44);

SIZE(rekindle_context_info, 32);
AT(rekindle_context_info, struct_size, 0);
AT(rekindle_context_info, n_devices, 4);
AT(rekindle_context_info, n_threads, 8);
AT(rekindle_context_info, reserved, 12);
AT(rekindle_context_info, isa, 16);

SIZE(rekindle_device_info, 280);
AT(rekindle_device_info, struct_size, 0);
AT(rekindle_device_info, kind, 4);
AT(rekindle_device_info, total_bytes, 8);
AT(rekindle_device_info, free_bytes, 16);
AT(rekindle_device_info, read_bandwidth, 24);
AT(rekindle_device_info, compute_major, 32);
AT(rekindle_device_info, compute_minor, 36);
AT(rekindle_device_info, board, 40);
AT(rekindle_device_info, described, 44);
AT(rekindle_device_info, name, 48);
AT(rekindle_device_info, driver_bytes, 176);
AT(rekindle_device_info, flops, 184);
AT(rekindle_device_info, host_bandwidth, 192);
AT(rekindle_device_info, takes_layers, 200);
AT(rekindle_device_info, reserved, 204);
AT(rekindle_device_info, cuda_ordinal, 208);
AT(rekindle_device_info, peers, 212);
AT(rekindle_device_info, image, 216);

SIZE(rekindle_file_info, 256);
AT(rekindle_file_info, struct_size, 0);
AT(rekindle_file_info, version, 4);
AT(rekindle_file_info, n_keys, 8);
AT(rekindle_file_info, n_tensors, 16);
AT(rekindle_file_info, n_bytes, 24);
AT(rekindle_file_info, n_params, 32);
AT(rekindle_file_info, n_files, 40);
AT(rekindle_file_info, n_layer, 44);
AT(rekindle_file_info, n_ctx_train, 48);
AT(rekindle_file_info, n_embd, 52);
AT(rekindle_file_info, n_vocab, 56);
AT(rekindle_file_info, reserved, 60);
AT(rekindle_file_info, architecture, 64);
AT(rekindle_file_info, name, 128);

SIZE(rekindle_key_info, 280);
AT(rekindle_key_info, struct_size, 0);
AT(rekindle_key_info, value_type, 4);
AT(rekindle_key_info, element_type, 8);
AT(rekindle_key_info, reserved, 12);
AT(rekindle_key_info, count, 16);
AT(rekindle_key_info, name, 24);

SIZE(rekindle_tensor_info, 208);
AT(rekindle_tensor_info, struct_size, 0);
AT(rekindle_tensor_info, tensor_type, 4);
AT(rekindle_tensor_info, n_dims, 8);
AT(rekindle_tensor_info, split, 12);
AT(rekindle_tensor_info, ne, 16);
AT(rekindle_tensor_info, offset, 48);
AT(rekindle_tensor_info, n_bytes, 56);
AT(rekindle_tensor_info, type_name, 64);
AT(rekindle_tensor_info, name, 80);

SIZE(rekindle_plan_params, 104);
AT(rekindle_plan_params, struct_size, 0);
AT(rekindle_plan_params, n_ctx, 4);
AT(rekindle_plan_params, n_seq_max, 8);
AT(rekindle_plan_params, n_outputs_max, 12);
AT(rekindle_plan_params, n_batch, 16);
AT(rekindle_plan_params, n_ubatch, 20);
AT(rekindle_plan_params, type_k, 24);
AT(rekindle_plan_params, type_v, 28);
AT(rekindle_plan_params, weights, 32);
AT(rekindle_plan_params, objective, 36);
AT(rekindle_plan_params, reserve_bytes, 40);
AT(rekindle_plan_params, estimator, 48);
AT(rekindle_plan_params, n_limits, 52);
AT(rekindle_plan_params, limits, 56);
AT(rekindle_plan_params, margin, 64);
AT(rekindle_plan_params, n_checkpoints, 72);
AT(rekindle_plan_params, n_draft, 76);
AT(rekindle_plan_params, pooling, 80);
AT(rekindle_plan_params, draft_source, 84);
AT(rekindle_plan_params, placements, 88);
AT(rekindle_plan_params, placements_len, 96);

SIZE(rekindle_device_limit, 24);
AT(rekindle_device_limit, device, 0);
AT(rekindle_device_limit, flags, 4);
AT(rekindle_device_limit, max_layers, 8);
AT(rekindle_device_limit, reserved, 12);
AT(rekindle_device_limit, reserve_bytes, 16);

SIZE(rekindle_plan_summary, 368);
AT(rekindle_plan_summary, struct_size, 0);
AT(rekindle_plan_summary, fits, 4);
AT(rekindle_plan_summary, n_layer, 8);
AT(rekindle_plan_summary, n_ctx, 12);
AT(rekindle_plan_summary, n_ctx_source, 16);
AT(rekindle_plan_summary, batch_source, 20);
AT(rekindle_plan_summary, n_ctx_train, 24);
AT(rekindle_plan_summary, n_batch, 28);
AT(rekindle_plan_summary, n_ubatch, 32);
AT(rekindle_plan_summary, n_seq_max, 36);
AT(rekindle_plan_summary, n_outputs_max, 40);
AT(rekindle_plan_summary, type_k, 44);
AT(rekindle_plan_summary, type_v, 48);
AT(rekindle_plan_summary, n_threads, 52);
AT(rekindle_plan_summary, n_devices, 56);
AT(rekindle_plan_summary, n_reasons, 60);
AT(rekindle_plan_summary, n_remedies, 64);
AT(rekindle_plan_summary, objective, 68);
AT(rekindle_plan_summary, architecture, 72);
AT(rekindle_plan_summary, name, 136);
AT(rekindle_plan_summary, estimator, 264);
AT(rekindle_plan_summary, predicted_decode, 296);
AT(rekindle_plan_summary, predicted_decode_full, 304);
AT(rekindle_plan_summary, predicted_prompt, 312);
AT(rekindle_plan_summary, predicted_pipelined, 320);
AT(rekindle_plan_summary, tightest_device, 328);
AT(rekindle_plan_summary, n_cpu_layers, 332);
AT(rekindle_plan_summary, tightest_bytes, 336);
AT(rekindle_plan_summary, n_recurrent_layers, 344);
AT(rekindle_plan_summary, n_checkpoints, 348);
AT(rekindle_plan_summary, n_draft, 352);
AT(rekindle_plan_summary, reserved, 356);
AT(rekindle_plan_summary, pooling, 360);
AT(rekindle_plan_summary, reserved_too, 364);

SIZE(rekindle_plan_device, 104);
AT(rekindle_plan_device, struct_size, 0);
AT(rekindle_plan_device, device, 4);
AT(rekindle_plan_device, first_layer, 8);
AT(rekindle_plan_device, n_layers, 12);
AT(rekindle_plan_device, has_output, 16);
AT(rekindle_plan_device, reserved, 20);
AT(rekindle_plan_device, total_bytes, 24);
AT(rekindle_plan_device, free_bytes, 32);
AT(rekindle_plan_device, shortfall, 40);
AT(rekindle_plan_device, weights, 48);
AT(rekindle_plan_device, mapped, 56);
AT(rekindle_plan_device, kv, 64);
AT(rekindle_plan_device, compute, 72);
AT(rekindle_plan_device, driver, 80);
AT(rekindle_plan_device, n_expert_layers, 88);
AT(rekindle_plan_device, reserved2, 92);
AT(rekindle_plan_device, states, 96);

SIZE(rekindle_plan_layer, 168);
AT(rekindle_plan_layer, struct_size, 0);
AT(rekindle_plan_layer, layer, 4);
AT(rekindle_plan_layer, device, 8);
AT(rekindle_plan_layer, reserved, 12);
AT(rekindle_plan_layer, weights, 16);
AT(rekindle_plan_layer, kv, 24);
AT(rekindle_plan_layer, reason, 32);
AT(rekindle_plan_layer, experts_device, 160);
AT(rekindle_plan_layer, reserved2, 164);

SIZE(rekindle_load_params, 40);
AT(rekindle_load_params, struct_size, 0);
AT(rekindle_load_params, check_tensors, 4);
AT(rekindle_load_params, mlock, 8);
AT(rekindle_load_params, reserved, 12);
AT(rekindle_load_params, progress, 16);
AT(rekindle_load_params, progress_user_data, 24);
AT(rekindle_load_params, on_oom, 32);
AT(rekindle_load_params, no_cuda_graphs, 36);

SIZE(rekindle_model_info, 272);
AT(rekindle_model_info, struct_size, 0);
AT(rekindle_model_info, n_vocab, 4);
AT(rekindle_model_info, n_embd, 8);
AT(rekindle_model_info, n_layer, 12);
AT(rekindle_model_info, n_head, 16);
AT(rekindle_model_info, n_head_kv, 20);
AT(rekindle_model_info, n_ctx, 24);
AT(rekindle_model_info, n_ctx_train, 28);
AT(rekindle_model_info, n_batch, 32);
AT(rekindle_model_info, n_ubatch, 36);
AT(rekindle_model_info, n_seq_max, 40);
AT(rekindle_model_info, n_outputs_max, 44);
AT(rekindle_model_info, n_params, 48);
AT(rekindle_model_info, architecture, 56);
AT(rekindle_model_info, name, 120);
AT(rekindle_model_info, can_shift, 248);
AT(rekindle_model_info, n_checkpoints, 252);
AT(rekindle_model_info, n_draft, 256);
AT(rekindle_model_info, reserved, 260);
AT(rekindle_model_info, pooling, 264);
AT(rekindle_model_info, n_embd_out, 268);

SIZE(rekindle_memory, 48);
AT(rekindle_memory, struct_size, 0);
AT(rekindle_memory, reserved, 4);
AT(rekindle_memory, weights, 8);
AT(rekindle_memory, mapped, 16);
AT(rekindle_memory, kv, 24);
AT(rekindle_memory, compute, 32);
AT(rekindle_memory, driver, 40);

SIZE(rekindle_perf, 80);
AT(rekindle_perf, struct_size, 0);
AT(rekindle_perf, reserved, 4);
AT(rekindle_perf, n_prompt_tokens, 8);
AT(rekindle_perf, n_decode_tokens, 16);
AT(rekindle_perf, load_us, 24);
AT(rekindle_perf, prompt_us, 32);
AT(rekindle_perf, decode_us, 40);
AT(rekindle_perf, sample_us, 48);
AT(rekindle_perf, n_drafted, 56);
AT(rekindle_perf, n_draft_agreed, 64);
AT(rekindle_perf, n_draft_off, 72);

SIZE(rekindle_vocab_info, 168);
AT(rekindle_vocab_info, struct_size, 0);
AT(rekindle_vocab_info, n_tokens, 4);
AT(rekindle_vocab_info, bos, 8);
AT(rekindle_vocab_info, eos, 12);
AT(rekindle_vocab_info, eot, 16);
AT(rekindle_vocab_info, eom, 20);
AT(rekindle_vocab_info, unk, 24);
AT(rekindle_vocab_info, sep, 28);
AT(rekindle_vocab_info, pad, 32);
AT(rekindle_vocab_info, add_bos, 36);
AT(rekindle_vocab_info, add_eos, 40);
AT(rekindle_vocab_info, add_space_prefix, 44);
AT(rekindle_vocab_info, model, 48);
AT(rekindle_vocab_info, pre, 80);
AT(rekindle_vocab_info, fim_prefix, 144);
AT(rekindle_vocab_info, fim_suffix, 148);
AT(rekindle_vocab_info, fim_middle, 152);
AT(rekindle_vocab_info, fim_pad, 156);
AT(rekindle_vocab_info, fim_repository, 160);
AT(rekindle_vocab_info, fim_separator, 164);

SIZE(rekindle_token_info, 16);
AT(rekindle_token_info, struct_size, 0);
AT(rekindle_token_info, token_type, 4);
AT(rekindle_token_info, score, 8);
AT(rekindle_token_info, is_eog, 12);

SIZE(rekindle_batch, 40);
AT(rekindle_batch, struct_size, 0);
AT(rekindle_batch, n_tokens, 4);
AT(rekindle_batch, tokens, 8);
AT(rekindle_batch, positions, 16);
AT(rekindle_batch, seq_ids, 24);
AT(rekindle_batch, outputs, 32);

SIZE(rekindle_logit_bias, 8);
AT(rekindle_logit_bias, token, 0);
AT(rekindle_logit_bias, bias, 4);

SIZE(rekindle_sampler_params, 184);
AT(rekindle_sampler_params, struct_size, 0);
AT(rekindle_sampler_params, temperature, 4);
AT(rekindle_sampler_params, top_k, 8);
AT(rekindle_sampler_params, top_p, 12);
AT(rekindle_sampler_params, min_p, 16);
AT(rekindle_sampler_params, repeat_penalty, 20);
AT(rekindle_sampler_params, frequency_penalty, 24);
AT(rekindle_sampler_params, presence_penalty, 28);
AT(rekindle_sampler_params, penalty_last_n, 32);
AT(rekindle_sampler_params, n_logit_bias, 36);
AT(rekindle_sampler_params, seed, 40);
AT(rekindle_sampler_params, logit_bias, 48);
AT(rekindle_sampler_params, dry_multiplier, 56);
AT(rekindle_sampler_params, dry_base, 60);
AT(rekindle_sampler_params, dry_allowed_length, 64);
AT(rekindle_sampler_params, dry_last_n, 68);
AT(rekindle_sampler_params, dry_breakers, 72);
AT(rekindle_sampler_params, dry_breaker_tokens, 80);
AT(rekindle_sampler_params, n_dry_breakers, 88);
AT(rekindle_sampler_params, n_dry_breaker_tokens, 92);
AT(rekindle_sampler_params, vocab, 96);
AT(rekindle_sampler_params, typical_p, 104);
AT(rekindle_sampler_params, top_n_sigma, 108);
AT(rekindle_sampler_params, xtc_probability, 112);
AT(rekindle_sampler_params, xtc_threshold, 116);
AT(rekindle_sampler_params, dynatemp_range, 120);
AT(rekindle_sampler_params, dynatemp_exponent, 124);
AT(rekindle_sampler_params, mirostat, 128);
AT(rekindle_sampler_params, mirostat_tau, 132);
AT(rekindle_sampler_params, mirostat_eta, 136);
AT(rekindle_sampler_params, adaptive_target, 140);
AT(rekindle_sampler_params, adaptive_decay, 144);
AT(rekindle_sampler_params, min_keep, 148);
AT(rekindle_sampler_params, steps, 152);
AT(rekindle_sampler_params, n_steps, 160);
AT(rekindle_sampler_params, n_logprobs, 164);
AT(rekindle_sampler_params, host_step, 168);
AT(rekindle_sampler_params, host_data, 176);

SIZE(rekindle_text, 16);
AT(rekindle_text, text, 0);
AT(rekindle_text, len, 8);

SIZE(rekindle_candidate, 12);
AT(rekindle_candidate, token, 0);
AT(rekindle_candidate, logit, 4);
AT(rekindle_candidate, p, 8);

SIZE(rekindle_logprob, 8);
AT(rekindle_logprob, token, 0);
AT(rekindle_logprob, logprob, 4);

SIZE(rekindle_generate_params, 48);
AT(rekindle_generate_params, struct_size, 0);
AT(rekindle_generate_params, seq_id, 4);
AT(rekindle_generate_params, prompt, 8);
AT(rekindle_generate_params, prompt_len, 16);
AT(rekindle_generate_params, prompt_tokens, 24);
AT(rekindle_generate_params, n_prompt_tokens, 32);
AT(rekindle_generate_params, max_tokens, 40);
AT(rekindle_generate_params, flags, 44);

SIZE(rekindle_generate_result, 16);
AT(rekindle_generate_result, struct_size, 0);
AT(rekindle_generate_result, n_prompt, 4);
AT(rekindle_generate_result, n_generated, 8);
AT(rekindle_generate_result, stop, 12);

SIZE(rekindle_generation_params, 80);
AT(rekindle_generation_params, struct_size, 0);
AT(rekindle_generation_params, flags, 4);
AT(rekindle_generation_params, prompt, 8);
AT(rekindle_generation_params, prompt_len, 16);
AT(rekindle_generation_params, prompt_tokens, 24);
AT(rekindle_generation_params, n_prompt_tokens, 32);
AT(rekindle_generation_params, sampler, 40);
AT(rekindle_generation_params, stop_texts, 48);
AT(rekindle_generation_params, stop_text_lens, 56);
AT(rekindle_generation_params, n_stop_texts, 64);
AT(rekindle_generation_params, max_tokens, 68);
AT(rekindle_generation_params, grammar, 72);

SIZE(rekindle_event, 32);
AT(rekindle_event, struct_size, 0);
AT(rekindle_event, kind, 4);
AT(rekindle_event, token, 8);
AT(rekindle_event, stop, 12);
AT(rekindle_event, text, 16);
AT(rekindle_event, text_len, 24);

SIZE(rekindle_generation_info, 36);
AT(rekindle_generation_info, struct_size, 0);
AT(rekindle_generation_info, phase, 4);
AT(rekindle_generation_info, n_prompt, 8);
AT(rekindle_generation_info, n_reused, 12);
AT(rekindle_generation_info, n_read, 16);
AT(rekindle_generation_info, n_generated, 20);
AT(rekindle_generation_info, seq_id, 24);
AT(rekindle_generation_info, stop, 28);
AT(rekindle_generation_info, n_forced, 32);

SIZE(rekindle_step_result, 16);
AT(rekindle_step_result, struct_size, 0);
AT(rekindle_step_result, n_tokens, 4);
AT(rekindle_step_result, n_going, 8);
AT(rekindle_step_result, n_waiting, 12);

SIZE(rekindle_chat_message, 112);
AT(rekindle_chat_message, role, 0);
AT(rekindle_chat_message, role_len, 8);
AT(rekindle_chat_message, content, 16);
AT(rekindle_chat_message, content_len, 24);
AT(rekindle_chat_message, name, 32);
AT(rekindle_chat_message, name_len, 40);
AT(rekindle_chat_message, reasoning, 48);
AT(rekindle_chat_message, reasoning_len, 56);
AT(rekindle_chat_message, tool_call_id, 64);
AT(rekindle_chat_message, tool_call_id_len, 72);
AT(rekindle_chat_message, tool_calls, 80);
AT(rekindle_chat_message, tool_calls_len, 88);
AT(rekindle_chat_message, fields, 96);
AT(rekindle_chat_message, fields_len, 104);

SIZE(rekindle_chat_params, 80);
AT(rekindle_chat_params, struct_size, 0);
AT(rekindle_chat_params, flags, 4);
AT(rekindle_chat_params, tools, 8);
AT(rekindle_chat_params, tools_len, 16);
AT(rekindle_chat_params, variables, 24);
AT(rekindle_chat_params, variables_len, 32);
AT(rekindle_chat_params, template_name, 40);
AT(rekindle_chat_params, template_name_len, 48);
AT(rekindle_chat_params, template_text, 56);
AT(rekindle_chat_params, template_text_len, 64);
AT(rekindle_chat_params, now, 72);

SIZE(rekindle_grammar_params, 48);
AT(rekindle_grammar_params, struct_size, 0);
AT(rekindle_grammar_params, flags, 4);
AT(rekindle_grammar_params, start, 8);
AT(rekindle_grammar_params, start_len, 16);
AT(rekindle_grammar_params, trigger_texts, 24);
AT(rekindle_grammar_params, trigger_tokens, 32);
AT(rekindle_grammar_params, n_trigger_texts, 40);
AT(rekindle_grammar_params, n_trigger_tokens, 44);
SIZE(rekindle_grammar_verdict, 16);
AT(rekindle_grammar_verdict, struct_size, 0);
AT(rekindle_grammar_verdict, verdict, 4);
AT(rekindle_grammar_verdict, at, 8);

int main(void) { return 0; }
