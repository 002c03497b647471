-- tarantool_socket.lua tarantool LINE DIRECTORY [documents=N] [queries=N]: Tarantool as another process, over a unix socket. Runs
-- in `tarantool`, twice: `serve` is the server, `get` and `recovery` start it, measure it, and end it.
-- luacheck: globals box
local line, directory = arg[2], arg[3]
local options = { documents = 100000, queries = 20000 }
for i = 4, #arg do
  local name, value = arg[i]:match "^(%w+)=(%w+)$"
  if options[name] then options[name] = tonumber(value) end
end
local clock, fiber, net = require "clock", require "fiber", require "net.box"
local socket = directory .. "/socket"

local function id_of(i) return ("01900000-%04x-7000-8000-%012x"):format(i * 40503 % 65536, i) end
local function article_of(i)
  local text = ('{"id":"%s","number":%d,"revision":1,"title":"Article","body":"%s"}')
  return text:format(id_of(i), i, ("x"):rep(256 - #text:format(id_of(i), i, "")))
end

if line == "serve" then
  box.cfg { work_dir = directory, memtx_memory = 2 ^ 31, wal_mode = "write", log = directory .. "/tarantool.log" }
  local space = box.space.articles
  if not space then
    space = box.schema.space.create "articles"
    space:create_index("id", { type = "hash", parts = { 1, "string" } })
    for i = 1, options.documents do
      if i % 1000 == 1 then box.begin() end
      space:insert { id_of(i), article_of(i) }
      if i % 1000 == 0 or i == options.documents then box.commit() end
    end
    box.schema.user.grant("guest", "super")
  end
  box.cfg { listen = "unix/:" .. socket }
  return
end

--- Starts the server and waits until it answers with a document; returns the connection and the seconds that took.
local function start()
  local before = clock.monotonic()
  os.remove(socket)
  os.execute(("tarantool scripts/bench/tarantool_socket.lua tarantool serve '%s' documents=%d >/dev/null 2>&1 </dev/null &")
    :format(directory, options.documents))
  while clock.monotonic() - before < 120 do
    local connection = net.connect("unix/:" .. socket, { connect_timeout = 1 })
    if connection:is_connected() and connection.space.articles then
      assert(connection.space.articles:get(id_of(1))[2] == article_of(1), "another document than was written")
      return connection, clock.monotonic() - before
    end
    connection:close()
    fiber.sleep(0.002)
  end
  error "tarantool does not answer"
end

local function stop(connection)
  pcall(connection.eval, connection, "os.exit(0)")
  connection:close()
end

local connection = start()
local operations, seconds
local ok, message = pcall(function()
  if line == "get" then
    local before = clock.monotonic()
    for i = 1, options.queries do
      local place = i * 7919 % options.documents + 1
      assert(#connection.space.articles:get(id_of(place))[2] == 256, "another document than was written")
    end
    operations, seconds = options.queries, clock.monotonic() - before
  else
    stop(connection)
    fiber.sleep(0.2)
    connection, seconds = start()
    operations = options.documents
  end
  assert(connection.space.articles.index.id:count() == options.documents, "documents are missing")
end)
stop(connection)
if not ok then error(message, 0) end
print(require "json".encode { contender = "tarantool", operations = operations, seconds = seconds, rate = operations / seconds,
  settings = "another process, unix socket, net.box; memtx, wal_mode = write" })
os.exit(0)
