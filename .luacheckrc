std = "lua54"
max_line_length = 130
exclude_files = { "build" }
files["spec"] = { std = "lua54+busted", ignore = { "311", "512" } } -- abandoned loops and handles are tested
files[".busted"] = { std = "lua54" }
