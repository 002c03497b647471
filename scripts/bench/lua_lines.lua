-- lua_lines.lua CONTENDER LINE DIRECTORY [documents=N]: what a script pays. One contender measures one line once and prints a
-- JSON object, as the C contenders do. Runs in Lua 5.4, as `tarantool` in Tarantool's own Lua. `parts` is what the binding
-- does alone, `cjson` what lua-cjson does alone, `table` a plain Lua table that holds texts.
local contender_name, line, directory = arg[1], arg[2], arg[3]
local count = 100000
for i = 4, #arg do count = tonumber(arg[i]:match "^documents=(%d+)$") or count end
local GROUP = 16

local json = require(contender_name == "tarantool" and "json" or "cjson")
local clock
if contender_name == "tarantool" then
  clock = require "clock".monotonic
else
  local uv = require "luv"
  function clock() return uv.hrtime() / 1e9 end
end

-- ---- Articles of 256 bytes, ids in random order ----

local ids, tables, texts = {}, {}, {}
math.randomseed(1)
for i = 1, count do
  local random = math.random
  local id = ("%04x%04x-%04x-7%03x-8%03x-%04x%08x"):format(0x0190, random(0, 65535), random(0, 65535), random(0, 4095),
    random(0, 4095), random(0, 65535), i)
  local document = { id = id, number = i, revision = 1, title = "Article", body = "" }
  document.body = ("x"):rep(256 - #json.encode(document))
  ids[i], tables[i], texts[i] = id, document, json.encode(document)
end

-- ---- Contenders: create(document or text), get(id), get_json(id), get_many(ids), update(id, patch) ----

local contenders = {}

function contenders.tidemark()
  local db = assert(require "tidemark".open(directory, { sync = "none" }))
  local c = db:collection "articles"
  return {
    settings = 'sync = "none"; else the defaults',
    create = function(document) return assert(c:create(document)) end,
    get = function(id) return c:get(id) end,
    get_json = function(id) return c:get_json(id) end,
    get_many = function(list) return c:get_many(list) end,
    update = function(id, patch) return assert(c:update(id, patch)) end,
    settle = function() assert(db:wait(db:watermarks().accepted, "written")) end,
    count = function() return c:count() end,
    close = function() assert(db:close()) end,
  }
end

function contenders.table()
  local store, stored = {}, 0
  local cjson = require "cjson"
  return {
    settings = "a plain Lua table of texts, lua-cjson; nothing on disk",
    create = function(document)
      local text = type(document) == "string" and document or cjson.encode(document)
      store[type(document) == "string" and cjson.decode(document).id or document.id] = text
      stored = stored + 1
    end,
    get = function(id) return cjson.decode(store[id]) end,
    get_json = function(id) return store[id] end,
    get_many = function(list)
      local found = {}
      for i, id in ipairs(list) do found[i] = cjson.decode(store[id]) end
      return found
    end,
    update = function(id, patch)
      local document = cjson.decode(store[id])
      for key, value in pairs(patch) do document[key] = value end
      store[id] = cjson.encode(document)
    end,
    count = function() return stored end,
  }
end

local function texts_alone(settings, encode, check, decode)
  local by_id, made = {}, 0
  for i, id in ipairs(ids) do by_id[id] = texts[i] end
  return {
    settings = settings, prepared = true,
    create = function(document)
      made = made + 1
      return (type(document) == "string" and check or encode)(document)
    end,
    get = function(id) return decode(by_id[id]) end,
    count = function() return count end,
  }
end

function contenders.parts()
  local parts = require "bench_parts"
  return texts_alone("encoding and decoding of the binding, without the engine", parts.encode, parts.check, parts.decode)
end

function contenders.cjson()
  local cjson = require "cjson"
  return texts_alone("lua-cjson, encoding and decoding alone", cjson.encode, cjson.decode, cjson.decode)
end

function contenders.luasql()
  local environment = require "luasql.sqlite3".sqlite3()
  local connection = assert(environment:connect(directory .. "/luasql"))
  for _, pragma in ipairs { "journal_mode=WAL", "synchronous=OFF", "cache_size=-1000000" } do
    local cursor = assert(connection:execute("PRAGMA " .. pragma))
    if type(cursor) == "userdata" then cursor:close() end
  end
  assert(connection:execute "CREATE TABLE articles (id TEXT PRIMARY KEY, document TEXT) WITHOUT ROWID")
  connection:setautocommit(false)
  local cjson = require "cjson"
  local store = { settings = "luasql.sqlite3 (SQL as text, it prepares nothing); WAL, synchronous=OFF, one transaction" }
  function store.create(document)
    local text = type(document) == "string" and document or cjson.encode(document)
    local id = type(document) == "string" and cjson.decode(document).id or document.id
    assert(connection:execute(("INSERT INTO articles VALUES ('%s', '%s')"):format(connection:escape(id),
      connection:escape(text))))
  end
  function store.get_json(id)
    local cursor = assert(connection:execute(("SELECT document FROM articles WHERE id = '%s'"):format(connection:escape(id))))
    local text = cursor:fetch()
    cursor:close()
    return text
  end
  function store.get(id) return cjson.decode(store.get_json(id)) end
  function store.update(id, patch)
    local document = store.get(id)
    for key, value in pairs(patch) do document[key] = value end
    assert(connection:execute(("UPDATE articles SET document = '%s' WHERE id = '%s'"):format(
      connection:escape(cjson.encode(document)), connection:escape(id))))
  end
  function store.settle() connection:commit() end
  function store.count()
    local cursor = assert(connection:execute "SELECT count(*) FROM articles")
    local found = math.tointeger(tonumber((cursor:fetch())))
    cursor:close()
    return found
  end
  return store
end

function contenders.tarantool()
  -- luacheck: globals box
  box.cfg { work_dir = directory, memtx_memory = 2 ^ 30, wal_mode = "write", log = directory .. "/tarantool.log" }
  local space = box.schema.space.create "articles"
  space:create_index("id", { type = "hash", parts = { 1, "string" } })
  local pending = 0
  local function within_transaction(write)
    if pending == 0 then box.begin() end
    write()
    pending = (pending + 1) % 1000
    if pending == 0 then box.commit() end
  end
  return {
    settings = "in its own process and Lua (LuaJIT); memtx, hash index; wal_mode = write, transactions of 1000 where it writes",
    create = function(document)
      if type(document) == "string" then document = json.decode(document) end
      within_transaction(function() space:insert { document.id, document } end)
    end,
    get = function(id) return space:get(id)[2] end,
    get_json = function(id) return json.encode(space:get(id)[2]) end,
    update = function(id, patch)
      within_transaction(function() space:update(id, { { "=", "[2].revision", patch.revision } }) end)
    end,
    settle = function() if pending > 0 then box.commit() end pending = 0 end,
    count = function() return space:count() end,
  }
end

-- ---- Lines ----

local store = assert(contenders[contender_name], "no such contender")()

local function settle() if store.settle then store.settle() end end

local function fill(documents)
  if store.prepared then return end
  for i = 1, count do store.create(documents[i]) end
  settle()
end

local function timed(operations, run)
  collectgarbage()
  local start = clock()
  run()
  return operations, clock() - start
end

local order = {}
for i = 1, count do order[i] = ids[math.random(count)] end
local lines = {}

function lines.lua_create_table() return timed(count, function() fill(tables) end) end
function lines.lua_create_text() return timed(count, function() fill(texts) end) end

if store.prepared then
  local function all(documents)
    return timed(count, function() for i = 1, count do store.create(documents[i]) end end)
  end
  function lines.lua_create_table() return all(tables) end
  function lines.lua_create_text() return all(texts) end
end

function lines.lua_get()
  fill(texts)
  local numbers = 0
  local operations, seconds = timed(count, function()
    for i = 1, count do numbers = numbers + store.get(order[i]).revision end
  end)
  assert(numbers == count, "other documents than were written")
  return operations, seconds
end

function lines.lua_get_json()
  fill(texts)
  local bytes = 0
  local operations, seconds = timed(count, function() for i = 1, count do bytes = bytes + #store.get_json(order[i]) end end)
  assert(contender_name == "tarantool" or bytes == 256 * count, "other texts than were written")
  return operations, seconds
end

function lines.lua_get_many()
  fill(texts)
  local groups, numbers = {}, 0
  for i = 1, count - GROUP + 1, GROUP do
    local group = {}
    for k = 1, GROUP do group[k] = order[i + k - 1] end
    groups[#groups + 1] = group
  end
  local operations, seconds = timed(#groups * GROUP, function()
    for _, group in ipairs(groups) do numbers = numbers + store.get_many(group)[GROUP].revision end
  end)
  assert(numbers == #groups, "other documents than were written")
  return operations, seconds
end

function lines.lua_update()
  fill(texts)
  local operations, seconds = timed(count, function()
    for i = 1, count do store.update(order[i], { revision = i }) end
    settle()
  end)
  assert(store.get(order[count]).revision == count, "an update is missing")
  return operations, seconds
end

local operations, seconds = assert(lines[line], "no such line")()
assert(store.count() == count, "documents are missing")
if store.close then store.close() end
print(json.encode { contender = contender_name, settings = store.settings, operations = operations, seconds = seconds,
  rate = operations / seconds })
os.exit(0)
