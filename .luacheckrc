std = "lua54"
max_line_length = 130
exclude_files = { "build", "bindings/tidemark.meta.lua" } -- the latter declares, it does nothing
files["spec"] = { std = "lua54+busted", ignore = { "311", "512" } } -- abandoned loops and handles are tested
files[".busted"] = { std = "lua54" }
