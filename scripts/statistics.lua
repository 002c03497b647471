-- statistics.lua: what several rounds amount to.
local statistics = {}

function statistics.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

function statistics.extremes(list)
  return math.min(table.unpack(list)), math.max(table.unpack(list))
end

return statistics
