-- embed.lua OUT.c FILE.lua...: writes the files into a C source as embedded_chunks (see bindings/embedded.h).
local out = assert(io.open(arg[1], "w"))
out:write('#include "embedded.h"\n\nconst struct embedded_chunk embedded_chunks[] = {\n')
for i = 2, #arg do
  local file = assert(io.open(arg[i], "rb"))
  local source = file:read "a"
  file:close()
  assert(load(source, "@" .. arg[i]))
  out:write(('    {"%s",\n'):format(arg[i]:match "([%w_]+)%.lua$"))
  for line in source:gmatch "[^\n]*\n?" do
    if line ~= "" then
      line = line:gsub('[\\"]', "\\%0"):gsub("\n", "\\n"):gsub("%?%?", "?\\?")
      line = line:gsub("[\128-\255]", function(c) return ("\\%03o"):format(c:byte()) end)
      out:write('     "', line, '"\n')
    end
  end
  out:write(("     , %d},\n"):format(#source))
end
out:write("    {0, 0, 0}};\n")
assert(out:close())
