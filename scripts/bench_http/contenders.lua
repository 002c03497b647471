-- contenders.lua: who is compared: how each is started, where it takes articles, how many it says that it has. All have
-- one thread. `serves` maps an operation of the bench to method, path, and a header.
local process = require "process"

local contenders = {}
local build, directory

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local function runs(command) return (os.execute(("{ %s; } >/dev/null 2>&1"):format(command))) end

local function curl(arguments)
  local pipe = assert(io.popen("curl -sS --max-time 30 " .. arguments .. " 2>&1"))
  local text = pipe:read "a"
  pipe:close()
  return text
end

--- A port that was free a moment ago; for those that cannot take one themselves. Below those that the system gives to
--- clients, for a connection may get one of them before the server has it.
local next_port = 15000 + (os.time() % 15000)
local function free_port()
  repeat next_port = next_port + 1 until not runs(("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'"):format(next_port))
  return next_port
end

local function answers(port)
  return function() return curl(("-o /dev/null -w '%%{http_code}' http://127.0.0.1:%d/count"):format(port)):find "^[2345]" end
end

--- Starts it with as many descriptors as the system allows.
local function start(self, command)
  local child = process.start("/bin/bash", { "-c", "ulimit -n hard; exec " .. command })
  self.pid, self.child = child.pid, child
  return child
end

local function fresh(name)
  local path = ("%s/%s"):format(directory, name)
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(path, path)))
  return path
end

--- Waits until the child answers at the port; raises with what it said when it has ended, or after 30 s.
local function await_answer(name, child, port)
  process.wait(30, name, function() return child.code or answers(port)() end, 50)
  if child.code then error(("%s ended with %d: %s%s"):format(name, child.code, child.output, child.errors)) end
end

local Contender = {}
Contender.__index = Contender

--- Starts it for the operation; once more when it doesn't come up, with another port: somebody may have taken the first.
function Contender:begin(operation)
  local TRIES = 3
  for try = 1, TRIES do
    local ok, err = pcall(self.start, self, operation)
    if ok then return end
    self:stop()
    if try == TRIES then error(err, 0) end
    io.stderr:write(("%s did not come up, trying again: %s\n"):format(self.name, err))
  end
end

function Contender:stop()
  if not self.child then return end
  if not self.child.code then process.signal(self.child, "sigterm") end
  process.finish(self.child, 60)
  self.child = nil
end

--- Nanoseconds of processor that it has used so far, all its threads together.
function Contender:cpu_ns()
  local sum, pipe = 0, assert(io.popen(("cat /proc/%d/task/*/schedstat"):format(self.pid)))
  for line in pipe:lines() do sum = sum + math.tointeger(line:match "^%d+") end
  pipe:close()
  return sum
end

function Contender:resident_bytes()
  return math.tointeger(read(("/proc/%d/status"):format(self.pid)):match "VmRSS:%s*(%d+)") * 1024
end

function Contender:descriptors()
  local pipe = assert(io.popen(("ls /proc/%d/fd | wc -l"):format(self.pid)))
  local count = math.tointeger(tonumber(pipe:read "a"))
  pipe:close()
  return count
end

local function contender(fields) return setmetatable(fields, Contender) end

-- ---- The ceiling ----

local function constant(answer_bytes)
  return contender {
    name = "constant",
    serves = {
      post = { "POST", "/resource" }, post_handler = { "POST", "/resource" }, get = { "GET", "/resource/article" },
      get_handler = { "GET", "/resource/article" },
    },
    start = function(self)
      self.port = free_port()
      local child = start(self, ("%s/constant_server %d 1 %d"):format(build, self.port, answer_bytes))
      await_answer("constant_server", child, self.port)
      self.url = "http://127.0.0.1:" .. self.port
    end,
  }
end

-- ---- Tidemark ----

local function tidemark()
  return contender {
    name = "tidemark",
    durable_too = true,
    serves = {
      post = { "POST", "/resource" }, post_handler = { "POST", "/handler" }, get = { "GET", "/resource/article" },
      get_handler = { "GET", "/handler/article" },
      durable = { "POST", "/resource", "Prefer: durability=durable" },
    },
    start = function(self)
      local child = start(self, ("%s/tidemark serve scripts/bench_http/app.lua --db %s/db --listen 127.0.0.1:0 --threads 1 "
        .. "--connections-max 20000 --waiting-max 20000"):format(build, fresh "tidemark"))
      process.wait(30, "tidemark serve", function() return child.code or child.output:find "listening on" end)
      self.url = assert(child.output:match "listening on (%S+)", child.errors)
    end,
    count = function(self)
      return math.tointeger(tonumber(curl(self.url .. "/metrics"):match "\ntidemark_documents ([%d.e+]+)"))
    end,
    sync_ms = function(self)
      local metrics = curl(self.url .. "/metrics")
      return metrics:match "\ntidemark_sync_seconds_total ([%d.e+-]+)" / metrics:match "\ntidemark_syncs_total ([%d.e+]+)" * 1000
    end,
  }
end

-- ---- Peers ----

local function nginx()
  return contender {
    name = "nginx+lua",
    why_not = not runs "test -f /usr/lib/nginx/modules/ngx_http_lua_module.so" and "no libnginx-mod-http-lua" or nil,
    settings = "master_process off, lua_shared_dict 3072m, cjson, access_log off",
    serves = {
      post = { "POST", "/articles" }, post_handler = { "POST", "/articles" }, get = { "GET", "/articles/article" },
      get_handler = { "GET", "/articles/article" },
    },
    start = function(self)
      local path = fresh "nginx"
      self.port = free_port()
      local file = assert(io.open(path .. "/nginx.conf", "w"))
      file:write((read "scripts/bench_http/nginx.conf":gsub("DIRECTORY", path):gsub("PORT", tostring(self.port))))
      file:close()
      local child = start(self, ("/usr/sbin/nginx -p /usr/share/nginx -c %s/nginx.conf"):format(path))
      await_answer("nginx", child, self.port)
      self.url = "http://127.0.0.1:" .. self.port
    end,
    count = function(self) return math.tointeger(tonumber(curl(self.url .. "/count"))) end,
  }
end

local function node()
  local module = build .. "/bench/npm/node_modules/better-sqlite3"
  local loads = runs(("node -e \"new (require('%s'))(':memory:')\""):format(module))
  return contender {
    name = "node+sqlite",
    durable_too = true,
    why_not = not loads and "no node with npm's better-sqlite3" or nil,
    settings = "WAL; synchronous = NORMAL, FULL where the answer waits for the disk; a transaction a request",
    serves = {
      post = { "POST", "/articles" }, post_handler = { "POST", "/articles" }, get = { "GET", "/articles/article" },
      get_handler = { "GET", "/articles/article" }, durable = { "POST", "/articles" },
    },
    start = function(self, operation)
      local path = fresh "node"
      self.port = free_port()
      local child = start(self, ("env BETTER_SQLITE3='%s' node scripts/bench_http/node_server.js %d %s/articles.db %s"):format(
        module, self.port, path, operation == "durable" and "FULL" or "NORMAL"))
      process.wait(30, "node", function() return child.code or child.output:find "listening" end)
      if child.code then error("node: " .. child.errors) end
      self.url = "http://127.0.0.1:" .. self.port
    end,
    count = function(self) return math.tointeger(tonumber(curl(self.url .. "/count"))) end,
  }
end

local REDIS_SCRIPT = [[
local article = cjson.decode(ARGV[1])
article.id = tostring(redis.call('incr', 'count'))
redis.call('set', 'article:' .. article.id, cjson.encode(article))
return article.id]]

--- Over its own protocol, with its own tester: for the reader's orientation.
local function redis()
  return contender {
    name = "redis",
    durable_too = true,
    own_protocol = true,
    why_not = not runs "command -v redis-server && command -v redis-benchmark" and "no redis-server" or nil,
    settings = "appendonly yes; appendfsync everysec, always where the answer waits for the disk; redis-benchmark",
    serves = { post_handler = true, get_handler = true, durable = true },
    start = function(self, operation)
      local path = fresh "redis"
      self.port = free_port()
      local child = start(self, ("redis-server --port %d --bind 127.0.0.1 --dir %s --save '' --appendonly yes --appendfsync %s")
        :format(self.port, path, operation == "durable" and "always" or "everysec"))
      process.wait(30, "redis-server", function() return child.code or child.output:find "Ready to accept" end)
      if child.code then error("redis-server: " .. child.output) end
    end,
    run = function(self, operation, article, connections, pipeline, seconds)
      local requests = math.floor((connections == 1 and 15000 or 60000) * math.max(1, pipeline / 8) * seconds)
      if operation == "durable" then requests = math.floor((connections == 1 and 800 or 10000) * seconds) end
      local command = "get article:1"
      if operation ~= "get_handler" then
        local hash = curl("--version") and self:client(("script load \"%s\""):format(REDIS_SCRIPT:gsub("\n", " "))):match "%x+"
        command = ("evalsha %s 0 '%s'"):format(hash, article)
      end
      local pipe = assert(io.popen(("redis-benchmark -p %d -c %d -P %d -n %d --csv %s 2>&1"):format(self.port, connections,
        pipeline, requests, command)))
      local text = pipe:read "a"
      pipe:close()
      local rate, p50 = text:match '","([%d.]+)","[%d.]+","[%d.]+","([%d.]+)"'
      if not rate then error("redis-benchmark: " .. text) end
      return { requests = requests, requests_per_second = tonumber(rate), p50_ms = tonumber(p50) }
    end,
    client = function(self, arguments)
      local pipe = assert(io.popen(("redis-cli -p %d %s 2>&1"):format(self.port, arguments)))
      local text = pipe:read "a"
      pipe:close()
      return text
    end,
    count = function(self) return math.tointeger(tonumber(self:client "get count")) or 0 end,
  }
end

local function tarantool()
  return contender { name = "tarantool", serves = {}, why_not = "its http module is in no Debian package" }
end

--- All contenders; `answer_bytes`: of the body that the ceiling answers.
function contenders.all(options, answer_bytes)
  build, directory = options.build, options.directory
  return { constant(answer_bytes), tidemark(), nginx(), node(), redis(), tarantool() }
end

contenders.curl = curl

return contenders
