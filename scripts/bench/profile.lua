-- profile.lua: where an operation's nanoseconds go. Runs lines of the bench, one at a time, under `perf record`, sorts the
-- samples into what the design speaks of, and shares out the time of an operation. Where perf is not allowed to count
-- instructions and cache misses (most virtual machines) it samples the clock.
local usage = [[
usage: lua5.4 scripts/bench/profile.lua [--build DIR] [--documents 1000000] [--only PATTERN]

examples:
  make profile
  lua5.4 scripts/bench/profile.lua --only '^get' --documents 100000
]]

local options = { build = "build", documents = "1000000", only = "" }
for i = 1, #arg, 2 do
  local name = arg[i]:match "^%-%-(%a+)$"
  if not options[name] or not arg[i + 1] then
    io.stderr:write(usage)
    os.exit(arg[i] == "--help" and 0 or 2)
  end
  options[name] = arg[i + 1]
end

local cjson = require "cjson"

local LINES = {
  { "create", "create documents=%s batch=1" },
  { "create, two threads", "create documents=%s batch=1 threads=2" },
  { "durable, one waiting", "durable-one threads=1" },
  { "durable, 64 waiting", "durable-one threads=64" },
  { "get", "get documents=%s queries=4000000" },
  { "get_many, copied", "get-many documents=%s queries=8000000" },
  { "get_many, viewed", "get-many documents=%s queries=8000000 copied=0" },
  { "update", "update documents=%s seconds=3" },
  { "recovery", "recovery documents=%s" },
}

-- The first that matches a symbol has it; the kernel's are those of the last three alone.
local PARTS = {
  { "making articles, queries, sums (the bench)", { "^article_", "^mix", "^random_", "^zipf", "^histogram", "^hex", "printf",
    "itoa", "^create_", "^get_all", "^get_groups", "^put", "^durable_one", "^update_for", "^mixed", "^load", "^queries_",
    "pow" } },
  { "hash", { "XXH", "hash" } },
  { "lock", { "_lock$", "_unlock$", "spin_", "mutex", "lll_" } },
  { "map: finding and publishing", { "^map_", "table_find", "bucket", "tide_get", "tide_write", "attempt" } },
  { "epochs and reclaiming", { "epoch", "reclaim", "retire", "read_begin", "read_end" } },
  { "block: allocating and building", { "memory_", "span_", "units_", "block_", "cache_", "format_" } },
  { "channel", { "channel", "claim", "place" } },
  { "writer: batch and frame", { "writer", "frame", "batch", "log_", "segment", "recover" } },
  { "CRC", { "crc" } },
  { "copying", { "memcpy", "memmove", "memcmp", "memset" } },
  { "page faults and clearing", { "clear_page", "page_fault", "folio", "handle_mm", "zero_user", "charge", "pmd", "vma" } },
  { "waiting and waking", { "futex", "schedule", "switch", "wake", "nanosleep", "idle", "cond_" } },
  { "other kernel", { "%[k%]" } },
}

local function capture(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  return text, pipe:close()
end

local function part_of(symbol)
  for i = symbol:find "^%[k%]" and #PARTS - 2 or 1, #PARTS do
    local part = PARTS[i]
    for _, pattern in ipairs(part[2]) do
      if symbol:find(pattern) or symbol:find("%] " .. pattern:gsub("^%^", "")) then return part[1] end
    end
  end
  return "other"
end

local function profile(title, arguments)
  local directory = options.build .. "/bench/profile"
  local data = directory .. "/perf.data"
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s/store'"):format(directory, directory)))
  local out, ok = capture(("perf record -q -F 2000 -o '%s' %s/bench/bin/tidemark %s 2>/dev/null"):format(data, options.build,
    arguments:format(options.documents):gsub("^(%S+)", "%1 " .. directory .. "/store")))
  local decoded, result = pcall(cjson.decode, out)
  if not ok or not decoded then error(("%s: %s"):format(title, out), 0) end
  local shares, symbols, total = {}, {}, 0
  local text = capture(("perf report -i '%s' --stdio -g none --sort sym 2>/dev/null"):format(data))
  for share, symbol in text:gmatch "\n%s*([%d.]+)%%%s+([^\n]+)" do
    local part = part_of(symbol)
    shares[part] = (shares[part] or 0) + tonumber(share)
    total = total + tonumber(share)
    if #symbols < 8 then symbols[#symbols + 1] = ("%5.1f %%  %s"):format(tonumber(share), (symbol:gsub("%s+$", ""))) end
  end
  print(("%s: %.0f/s, %.0f ns an operation; samples of the whole program, its preparation included"):format(title, result.rate,
    1e9 / result.rate))
  local parts = {}
  for part, share in pairs(shares) do parts[#parts + 1] = { part, share } end
  table.sort(parts, function(a, b) return a[2] > b[2] end)
  for _, part in ipairs(parts) do
    if part[2] >= 0.5 then print(("  %5.1f %%  %s"):format(part[2] * 100 / total, part[1])) end
  end
  print("  the most: " .. table.concat(symbols, "\n            ") .. "\n")
  os.execute(("rm -rf '%s'"):format(directory))
end

if not os.execute "perf record -q -o /dev/null true >/dev/null 2>&1" then
  io.stderr:write "profile: perf is not there, or not allowed (kernel.perf_event_paranoid); Debian's package is linux-perf\n"
  os.exit(3)
end
for _, line in ipairs(LINES) do
  if line[1]:find(options.only) then profile(line[1], line[2]) end
end
