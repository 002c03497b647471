-- Threads: n OS threads, each with a Lua state of its own, share one engine by opening the same directory.
--   build/tidemark run examples/threads.lua [DIRECTORY]
local tidemark = require "tidemark"

local path = arg and arg[1] or "build/examples/threads"
local db <close> = assert(tidemark.open(path))
for id in db:collection "points":each() do assert(db:collection "points":delete(id)) end

-- The chunk has no upvalues: what it needs comes as arguments. What it returns comes back, copied.
local function work(index, directory, count)
  local own <close> = assert(require "tidemark".open(directory))
  local points = own:collection "points"
  local inside = 0
  math.randomseed(index)
  for i = 1, count do
    local x, y = math.random(), math.random()
    if x * x + y * y <= 1 then inside = inside + 1 end
    assert(points:create { id = ("%d-%d"):format(index, i), x = x, y = y })
  end
  return inside
end

local results = assert(tidemark.threads(4, work, path, 5000))
local inside = 0
for _, result in ipairs(results) do inside = inside + result[1] end
print("points", #db:collection "points")
print("pi is near 3.1", math.abs(4 * inside / 20000 - 3.14) < 0.1)

-- An error in one of them comes as nil, message, code, once all have ended.
local ok, message, code = tidemark.threads(2, "error 'something broke'")
print(ok, message:match "something broke", code)
