std = "lua54"
max_line_length = 130
exclude_files = { "build", "bindings/tidemark.meta.lua" } -- the latter declares, it does nothing
files["spec"] = { std = "lua54+busted", ignore = { "311", "512" } } -- abandoned loops and handles are tested
files[".busted"] = { std = "lua54" }
files["examples/load"] = { globals = { "wrk", "thresholds", "init", "request", "response", "operation" } }
files["scripts/main_job/http_load.lua"] = { globals = { "wrk", "init", "request" } }
files["scripts/bench_http/load.lua"] = { globals = { "wrk", "init" } }
