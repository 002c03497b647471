local serve = {
  usage = [[
usage: tidemark serve APP.lua --db DIR [--listen 127.0.0.1:8080] [--threads N] [OPTIONS]

Serves HTTP/1.1: APP.lua is called with `app` and `db` in each thread, and says what is answered (docs/server.md). Prints
`tidemark: listening on http://127.0.0.1:8080` when it serves. /health, /ready and /metrics are there unless it takes them.

  --db DIR                  the database; made if it is missing
  --listen HOST:PORT        where; port 0 takes a free one. Only this machine reaches 127.0.0.1
  --threads N               default: the number of processors
  --token FILE              asks every request but /health for `Authorization: Bearer` and the file's content
  --log common|json         one line for each request on standard output; default: none
  --grace-s 10              time for requests under way after SIGTERM or SIGINT
  --batch-size, --flush-interval-ms, --sync, --durability, --timeout-ms, --document-bytes-max, --read-only, --hash-chain, ...
                            the options of tidemark.open, spelled with dashes
  --retain-events-per-document N, --retain-days N, --retain-log-bytes N
                            what the log keeps (see tidemark help compact), default: all

limits: --head-bytes-max 16384  --fields-max 100  --target-bytes-max 8192  --head-timeout-ms 10000
  --body-timeout-ms 30000  --idle-timeout-ms 60000  --handler-timeout-ms 10000  --connections-max 10000
  --pipeline-max 64  --waiting-max 10000

signals: SIGTERM, SIGINT stop it after what is under way is answered (a second one at once), SIGHUP loads APP.lua anew.
exit status: 0 stopped, 2 wrong usage or an error in APP.lua, 3 port in use or database not to be opened.

examples:
  tidemark serve examples/blog.lua --db data/blog
  tidemark serve app.lua --db data --listen 0.0.0.0:80 --token /etc/tidemark.token --durability durable
]],
}

local engine_numbers = {
  "batch-size", "flush-interval-ms", "batch-bytes-max", "pending-bytes-max", "sync-interval-ms", "timeout-ms",
  "segment-bytes", "document-bytes-max", "snapshot-log-bytes",
}

-- Name, default, least, greatest.
local limits = {
  { "head-bytes-max", 16384, 256, 1 << 24 }, { "fields-max", 100, 1, 10000 }, { "target-bytes-max", 8192, 1, 1 << 20 },
  { "head-timeout-ms", 10000, 1, 86400000 }, { "body-timeout-ms", 30000, 1, 86400000 },
  { "idle-timeout-ms", 60000, 1, 86400000 }, { "handler-timeout-ms", 10000, 1, 86400000 },
  { "connections-max", 10000, 1, 1000000 }, { "pipeline-max", 64, 1, 10000 }, { "waiting-max", 10000, 1, 10000000 },
}

local function listen_address(common, text)
  local host, port = text:match "^%[(.+)%]:(%d+)$"
  if not host then host, port = text:match "^([^:]+):(%d+)$" end
  port = math.tointeger(tonumber(port))
  if not port or port > 65535 then common.fail(2, "--listen: %s is not HOST:PORT", text) end
  return host, port
end

local function read_token(common, path)
  local file, message = io.open(path, "rb")
  if not file then common.fail(3, "--token: %s", message) end
  local token = file:read "a":gsub("%s+$", "")
  file:close()
  if #token < 8 then common.fail(2, "--token: %s holds less than 8 characters", path) end
  return token
end

local function processors()
  local count = 0
  local file = io.open "/proc/self/status"
  for line in file and file:lines() or function() end do
    local list = line:match "^Cpus_allowed_list:%s*(.+)"
    for range in (list or ""):gmatch "[^,]+" do
      local first, last = range:match "^(%d+)-?(%d*)$"
      if first then count = count + (tonumber(last) or tonumber(first)) - tonumber(first) + 1 end
    end
  end
  if file then file:close() end
  return math.tointeger(math.max(count, 1))
end

local function option_spec()
  local spec = {
    db = "string", listen = "string", threads = "number", token = "string", log = "string", ["grace-s"] = "number",
    sync = "string", durability = "string", ["read-only"] = "flag", ["hash-chain"] = "flag",
    ["retain-events-per-document"] = "number", ["retain-days"] = "number", ["retain-log-bytes"] = "number",
  }
  for _, name in ipairs(engine_numbers) do spec[name] = "number" end
  for _, limit in ipairs(limits) do spec[limit[1]] = "number" end
  return spec
end

local function engine_options(common, options)
  local result = { sync = options.sync, durability = options.durability, read_only = options["read-only"],
    hash_chain = options["hash-chain"] }
  result.retain = require "tidemark.commands.compact".retention(common, options, "retain-")
  for _, name in ipairs(engine_numbers) do result[name:gsub("-", "_")] = options[name] end
  return result
end

local function server_options(common, options)
  local result = { threads = options.threads or processors(), grace_ms = (options["grace-s"] or 10) * 1000 }
  if result.threads < 1 or result.threads > 1024 then common.fail(2, "--threads: from 1 to 1024") end
  if result.grace_ms < 0 then common.fail(2, "--grace-s: not less than 0") end
  result.host, result.port = listen_address(common, options.listen or "127.0.0.1:8080")
  for _, limit in ipairs(limits) do
    local name, default, least, greatest = table.unpack(limit)
    local value = options[name] or default
    if value < least or value > greatest then common.fail(2, "--%s: from %d to %d", name, least, greatest) end
    result[name:gsub("-", "_")] = value
  end
  result.document_bytes_max = options["document-bytes-max"] or 16 << 20
  if options.log and options.log ~= "common" and options.log ~= "json" then
    common.fail(2, "--log: common or json")
  end
  result.log = options.log
  result.token = options.token and read_token(common, options.token)
  return result
end

function serve.main(common, arguments)
  local options, rest = common.parse(arguments, option_spec(), 1, serve.usage)
  if not rest[1] then common.fail(2, "no script\n%s", serve.usage) end
  if not options.db or options.db == "" then common.fail(2, "--db DIR is missing\n%s", serve.usage) end
  local chunk, message = loadfile(rest[1])
  if not chunk then common.fail(2, "%s", message) end
  local server = server_options(common, options)
  local database_options = engine_options(common, options)
  local right, wrong = pcall(require "tidemark.tools".check_options, database_options) -- before the port is taken
  if not right then common.fail_argument(wrong) end
  server.script, server.database = rest[1], options.db
  local tidemark = require "tidemark"
  local db, open_message
  local status, failure = require "tidemark.server".run(server, function()
    db, open_message = tidemark.open(options.db, database_options)
    return db
  end)
  if not db and open_message then common.fail(3, "%s", open_message) end
  if failure then common.fail(status, "%s", failure) end
  local closed, close_message = db:close()
  if not closed then common.fail(3, "%s", close_message) end
  return status
end

return serve
